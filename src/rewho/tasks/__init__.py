"""What is learned with the training loop: identity, distillation, contrast."""
