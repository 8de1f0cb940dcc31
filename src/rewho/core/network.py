"""Whether there is a network, asked before a library waits for one: by themselves they try again for minutes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE = 5.0  # seconds; a server that is there answers in less than one


def is_reachable(address: str, seconds: float = PATIENCE) -> bool:
    """Return whether a server answers in time; an answer that is an error counts too.

    Example:
        >>> is_reachable("http://127.0.0.1:9/")
        False
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(address, method="HEAD"), timeout=seconds).close()  # noqa: S310 - addresses of libraries
        except OSError as error:
            # A status that is an error is an answer; the library that asks next may know an unknown certificate.
            there = isinstance(error, HTTPError) or isinstance(getattr(error, "reason", None), ssl.SSLError)
            if not there:
                return
        answered.set()

    # In a thread of its own, because looking up a name cannot be given a timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


@contextmanager
def use_hub_cache_offline() -> Iterator[None]:
    """Within, the Hugging Face hub's library uses its cache only where the hub cannot be reached."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
