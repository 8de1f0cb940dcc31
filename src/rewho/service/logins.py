"""Counting wrong passwords, so that guessing takes years."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time

from rewho.service.problems import Refusal

LOGIN_S = 900.0
"""Wrong passwords are counted for this long."""


class LoginLimit:
    """Counts wrong passwords by name and by address, neither of which it keeps in the clear.

    Args:
        most: Wrong passwords per name, and per address, within `LOGIN_S`; an address may fail for four names.
    """

    def __init__(self, most: int) -> None:
        self._most, self._guard = most, threading.Lock()
        self._key = secrets.token_bytes(32)
        self._failed: dict[bytes, list[float]] = {}

    def check(self, name: str, address: str) -> None:
        """Refuse a login where too many have failed."""
        now = time.monotonic()
        with self._guard:
            for key, most in self._keys(name, address):
                recent = [when for when in self._failed.get(key, ()) if when > now - LOGIN_S]
                if len(recent) >= most:
                    wait = round(recent[0] + LOGIN_S - now) + 1
                    detail = f"login: expected fewer wrong passwords, got {len(recent)}. Wait {wait} s."
                    raise Refusal(429, detail, {"retry-after": str(wait)})

    def fail(self, name: str, address: str) -> None:
        """Count a wrong password."""
        now = time.monotonic()
        with self._guard:
            if len(self._failed) > 100_000:
                self._failed = {key: times for key, times in self._failed.items() if times[-1] > now - LOGIN_S}
            for key, most in self._keys(name, address):
                self._failed[key] = [*self._failed.get(key, ())[-most:], now]

    def _keys(self, name: str, address: str) -> list[tuple[bytes, int]]:
        pairs = ((f"name {name.lower()}", self._most), (f"address {address}", 4 * self._most))
        return [(hmac.digest(self._key, text.encode(errors="replace"), hashlib.sha256), most) for text, most in pairs]
