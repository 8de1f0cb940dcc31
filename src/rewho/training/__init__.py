"""The training loop and what it saves; model, loss and batches come in as arguments."""
