"""Images and any model to embeddings, and what is computed from them."""
