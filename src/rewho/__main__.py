"""`python -m rewho`, for launchers that start modules, such as torchrun, and what the command `rewho` runs."""


def start() -> int:
    """Run a command; Ctrl-C while Python still imports ends it without a word, since nothing has begun."""
    try:
        from rewho.cli import main
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    raise SystemExit(start())
