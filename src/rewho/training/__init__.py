"""The training loop and its checkpoints; model, loss and batches are arguments."""
