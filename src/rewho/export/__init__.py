"""Trained models as files that run without rewho: traced, proved to compute the same, described."""
