"""The outermost layer of the service: limits, security headers, numbers of requests, log and metrics.

It sees a request before anything parses it. A body that is too large, too slow, or one too many at the same time is
refused while it arrives: 413, 408, 429. The log holds neither names, nor addresses, nor what was asked.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewho.service.metrics import Metrics
from rewho.service.problems import Refusal, problem
from rewho.settings.serve import ServiceLimits

SMALL_BODY = 65_536
"""Bodies up to this many bytes need no place among the uploads."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
}


class Gate:
    """The outermost layer.

    Args:
        app: The application.
        limits: What is accepted.
        metrics: Counts of requests.
        write: Writes a line of the log.
        names: Host names that are answered, in small letters; none answers all.
        https: Tell browsers to use only https.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServiceLimits,
        metrics: Metrics,
        write: Callable[[str], None],
        names: frozenset[str],
        *,
        https: bool,
    ) -> None:
        self._app, self._limits, self._metrics, self._write = app, limits, metrics, write
        self._names, self._uploads = names, 0
        headers = {**HEADERS, **({"strict-transport-security": "max-age=31536000"} if https else {})}
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        scope["request_number"] = number = secrets.token_hex(8)
        self._metrics.running += 1

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                own = list(message.get("headers", ()))
                given = {name for name, _ in own}
                added = [*self._headers, (b"cache-control", b"no-store"), (b"x-request-id", number.encode())]
                message = {**message, "headers": [*own, *(one for one in added if one[0] not in given)]}
            await send(message)

        body = Body(scope, receive, self._limits, self._take)
        try:
            refused = self._check_host(scope) or body.refused()
            if refused is not None:
                await self._refuse(refused, scope, receive, answer)
            else:
                await self._app(scope, body.receive, answer)
        finally:
            self._uploads -= body.places
            self._metrics.running -= 1
            self._log(scope, status, time.perf_counter() - began)

    async def _refuse(self, refused: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {**(refused.headers or {}), "connection": "close"}
        await problem(refused.status_code, refused.detail, scope["request_number"], headers)(scope, receive, send)

    def _check_host(self, scope: Scope) -> Refusal | None:
        """Refuse names that are not ours: another site's name may be made to lead to this machine."""
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
        if not self._names or name in self._names:
            return None
        expected = " or ".join(sorted(self._names))
        return Refusal(400, f"Host: expected {expected}, got {name!r}. Start `rewho serve` with --names {name}.")

    def _take(self) -> bool:
        """Take a place among the uploads, if one is free."""
        if self._uploads >= self._limits.uploads:
            return False
        self._uploads += 1
        return True

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "unknown")
        self._metrics.count(scope["method"] if scope["method"].isalpha() else "other", route, status, seconds)
        line: dict[str, Any] = {
            "time": round(datetime.now(UTC).timestamp(), 3),
            "request": scope["request_number"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        self._write(json.dumps(line))


class Body:
    """The body of a request as it arrives, within limits.

    Args:
        scope: The request's.
        receive: Gives its parts.
        limits: What is accepted.
        take: Takes a place among the uploads.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: ServiceLimits, take: Callable[[], bool]) -> None:
        self._receive, self._limits, self._take = receive, limits, take
        self._most = round(limits.body * 1e6)
        length = dict(scope["headers"]).get(b"content-length", b"")
        self._claimed = int(length) if length.isdigit() and len(length) < 20 else 0
        self._read, self._until, self._ended = 0, 0.0, False
        self.places = 0

    def refused(self) -> Refusal | None:
        """Return why the body is refused before any of it is read."""
        if self._claimed > self._most:
            return self._too_large()
        return self._need_place() if self._claimed > SMALL_BODY else None

    def _too_large(self) -> Refusal:
        most = f"{self._most / 1e6:g} MB"
        return Refusal(413, f"request: expected at most {most}, got more. Send smaller images, or fewer.")

    def _need_place(self) -> Refusal | None:
        if self.places or self._take():
            self.places = 1
            return None
        detail = f"uploads: expected at most {self._limits.uploads} at the same time, got another. Try again soon."
        return Refusal(429, detail, {"retry-after": "2"})

    async def receive(self) -> Message:
        """Return the next part; raise a Refusal where it breaks a limit."""
        if self._ended:
            return await self._receive()  # waits for the client to leave
        self._until = self._until or time.monotonic() + self._limits.body_seconds
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            seconds = f"{self._limits.body_seconds:g} s"
            raise Refusal(408, f"request: expected its body within {seconds}, got a part of it.") from None
        self._read += len(message.get("body", b""))
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        if self._read > self._most:
            raise self._too_large()
        if self._read > SMALL_BODY and (refused := self._need_place()):
            raise refused
        return message
