"""What a file or folder is, what is odd about it, and what to do with it."""
