"""`python -m rewho`, for launchers that start modules, such as torchrun."""

from rewho.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
