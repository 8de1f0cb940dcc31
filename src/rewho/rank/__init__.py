"""From embeddings to ranked lists and figures one can trust; evaluation and search share it."""
