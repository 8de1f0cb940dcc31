"""One verb per module, each a `run(settings) -> Path`; the only place where the parts meet."""
