"""Checks for a network before libraries try to download, because their own retries take minutes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE = 5.0  # seconds; a reachable server answers in less than one


def is_reachable(address: str, seconds: float = PATIENCE) -> bool:
    """Return whether a server answers in time, even with an error."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(address, method="HEAD"), timeout=seconds).close()  # noqa: S310 - addresses of libraries
        except OSError as error:
            # An error status is an answer, and so is a certificate unknown to Python, which the library may know.
            there = isinstance(error, HTTPError) or isinstance(getattr(error, "reason", None), ssl.SSLError)
            if not there:
                return
        answered.set()

    # In a thread, because looking up a name has no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


@contextmanager
def use_hub_cache_offline() -> Iterator[None]:
    """Let the Hugging Face library use only its cache while a block runs if the hub is not reachable."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
