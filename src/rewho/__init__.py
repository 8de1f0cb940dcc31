"""rewho."""
