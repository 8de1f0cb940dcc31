"""Whether there is a network, asked before a library waits for one: by themselves they try again for minutes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

PATIENCE = 5.0  # seconds; a server that is there answers in less than one


def reachable(address: str, seconds: float = PATIENCE) -> bool:
    """Return whether a server answers in time; an answer that is an error counts too.

    Example:
        >>> reachable("http://127.0.0.1:9/")
        False
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(address, method="HEAD"), timeout=seconds).close()  # noqa: S310 - addresses of libraries
        except HTTPError:
            pass
        except URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # the library that asks next may know the certificate
                return
        except OSError:
            return
        answered.set()

    # In a thread of its own, because looking up a name cannot be given a timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


@contextmanager
def hub_if_reachable() -> Iterator[None]:
    """Within, the Hugging Face hub's library uses its cache only where the hub cannot be reached."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
