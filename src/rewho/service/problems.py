"""Errors as problem details (RFC 9457), for programs, and as a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rewho.core.check import UserError

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        default="about:blank", description="Always about:blank: the status says what kind of error it is."
    )
    title: str = Field(description="The status in words.")
    status: int = Field(description="The status.")
    detail: str = Field(default="", description="What was expected, what was found, and what to do.")
    request: str = Field(default="", description="Number of the request, as in the service's log.")


class Refusal(HTTPException):
    """An answer other than the one that was asked for.

    Args:
        status: HTTP status.
        detail: What was expected, what was found, and what to do.
        headers: More headers.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)


def problem(status: int, detail: str, request: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return problem details as a response."""
    title = HTTPStatus(status).phrase
    content = Problem(type="about:blank", title=title, status=status, detail=detail, request=request)
    return JSONResponse(content.model_dump(), status, headers, MEDIA_TYPE)


def refusal_of(error: UserError) -> Refusal:
    """Return the refusal for a user's mistake: 404 where something is not there, 400 otherwise."""
    text = str(error)
    missing = any(word in text for word in ("got no such", "no such sighting", "expected a crop with a thumbnail"))
    return Refusal(404 if missing else 400, " ".join(text.split()))


ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words, "content": {MEDIA_TYPE: {}}}
    for status, words in {
        400: "Something in the request is not as it must be.",
        401: "Nobody is logged in, or the token has ended.",
        403: "The user's role does not allow it, or the CSRF token is absent.",
        404: "There is no such thing, or the user may not see it.",
        408: "The request's body came too slowly.",
        409: "The Idempotency-Key belongs to another request.",
        413: "The request is too large.",
        422: "A value has the wrong type.",
        429: "Too many requests at once, or too many wrong passwords.",
    }.items()
}
"""The errors of all routes, for their description."""


def request_id(request: Request) -> str:
    """Return the number of a request."""
    return str(request.scope.get("request_number", ""))
