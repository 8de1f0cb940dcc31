"""What all requests share: the open gallery, limits, metrics, the places for work that runs at the same time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from fastapi import Request

from rewho.gallery.gallery import Gallery
from rewho.service.logins import LoginLimit
from rewho.service.metrics import Metrics
from rewho.service.problems import Refusal
from rewho.settings.serve import ServiceLimits


class State:
    """What all requests share; `wake` is set when a job was asked for, `decoding` is held while an image is decoded.

    Args:
        gallery: The open gallery.
        limits: What is accepted.
        users: Let only users in; a gallery that has users lets nobody else in.
        secure: Send cookies only over https.
        sources: Folder whose contents may be added, or None.
        runs: Folder of evaluations and trainings to show, or None.
    """

    def __init__(
        self,
        gallery: Gallery,
        limits: ServiceLimits,
        *,
        users: bool,
        secure: bool,
        sources: Path | None,
        runs: Path | None = None,
    ) -> None:
        self.gallery, self.limits, self.secure = gallery, limits, secure
        self.sources = None if sources is None else sources.resolve()
        self.runs = None if runs is None else runs.resolve()
        self.metrics, self.logins = Metrics(), LoginLimit(limits.logins)
        self.wake = threading.Event()
        self.local_csrf = secrets.token_urlsafe(24)
        self.ready = threading.Event()
        self._users = users or bool(gallery.accounts.list())
        self._key = secrets.token_bytes(32)
        self.decoding = threading.Lock()
        self._places, self._guard, self._waiting = threading.BoundedSemaphore(limits.searches), threading.Lock(), 0

    def needs_login(self) -> bool:
        """Return whether only users are let in; from the first user on it stays so."""
        return self._users

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for work on the gallery; refuse where none becomes free in time."""
        if not self._wait():
            detail = f"work: expected at most {self.limits.searches} searches at the same time, got more. Try again."
            raise Refusal(429, detail, {"retry-after": "5"})
        try:
            yield
        finally:
            self._places.release()

    def _wait(self) -> bool:
        """Return whether a place became free in time; few may wait, because each wait holds a thread."""
        with self._guard:
            if self._waiting >= 4 * self.limits.searches:
                return False
            self._waiting += 1
        try:
            return self._places.acquire(timeout=self.limits.wait_seconds)
        finally:
            with self._guard:
                self._waiting -= 1

    def sign(self, who: str, crop: int) -> str:
        """Return a proof that a recorded page showed this crop to this user."""
        return hmac.digest(self._key, f"{crop} {who}".encode(), hashlib.sha256).hex()[:32]

    def shown(self, who: str, crop: int, proof: str) -> bool:
        """Return whether a proof is the one that `sign` gave for this crop and user."""
        return hmac.compare_digest(self.sign(who, crop).encode(), proof.encode(errors="replace"))


def state_of(request: Request) -> State:
    """Return the state of the service that got a request."""
    return cast("State", request.app.state.rewho)
