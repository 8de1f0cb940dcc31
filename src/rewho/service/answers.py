"""The gallery's values as the API gives them, and requests that may be sent twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Header, Request
from fastapi.responses import Response
from pydantic import BaseModel

from rewho.core.check import UserError
from rewho.gallery.inputs import parse_time
from rewho.gallery.jobs import Job
from rewho.gallery.records import Filters, Found, Sighting
from rewho.service.access import Identity
from rewho.service.problems import Refusal
from rewho.service.schemas import CandidateOut, FiltersIn, FoundOut, JobOut, SightingOut
from rewho.service.state import state_of

STATES = ("shown", "hidden", "withdrawn")
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Chosen by the client: within a day the same request with the same key is done only once.",
    ),
]


def sighting_out(one: Sighting) -> SightingOut:
    """Return a sighting as the API gives it."""
    return SightingOut(**{**one._asdict(), "state": STATES[one.state]})


def found_out(found: Found) -> FoundOut:
    """Return a result as the API gives it."""
    candidates = [CandidateOut(**{**one._asdict(), "sighting": sighting_out(one.sighting)}) for one in found.candidates]
    return FoundOut(
        search=found.search,
        candidates=candidates,
        total=found.total,
        normalised=found.normalised,
        notes=list(found.notes),
        calibration=found.calibration,
        model=found.model,
        version=found.version,
        next=write_cursor(found.after),
    )


def job_out(job: Job) -> JobOut:
    """Return a job as the API gives it."""
    return JobOut(**{name: value for name, value in job._asdict().items() if name in JobOut.model_fields})


def write_cursor(after: tuple[float, int] | None) -> str | None:
    """Return where a page begins as text.

    Example:
        >>> read_cursor(write_cursor((0.25, 7))), write_cursor(None)
        ((0.25, 7), None)
    """
    return None if after is None else f"{after[0]!r},{after[1]}"


def read_cursor(text: str | None) -> tuple[float, int] | None:
    """Return where a page begins."""
    if not text:
        return None
    similarity, _, number = text.partition(",")
    try:
        return float(similarity), int(number)
    except ValueError:
        raise Refusal(400, f"next: expected what the page before gave, got {text[:40]!r}.") from None


def read_filters(given: FiltersIn) -> Filters:
    """Return filters from the API's."""
    return Filters(
        cameras=tuple(given.cameras),
        after=parse_time(given.after, what="after") if given.after else None,
        before=parse_time(given.before, what="before") if given.before else None,
        sources=tuple(given.sources),
        people=tuple(given.people),
        cases=tuple(given.cases),
        new=given.new,
    )


def answer_once(
    request: Request, user: Identity, key: str, body: BaseModel, status: int, work: Callable[[], BaseModel]
) -> Response:
    """Do work, unless the same request was answered before under the same key; return the answer as JSON."""
    replies, who = state_of(request).gallery.replies, user.actor.who
    if not key:
        return Response(work().model_dump_json(), status, media_type="application/json")
    asked = f"{request.method} {request.url.path} {body.model_dump_json()}".encode()
    try:
        before = replies.begin(who, key, asked)
    except UserError as error:
        raise Refusal(409, " ".join(str(error).split())) from error
    if before is not None:
        return Response(before[1], before[0], {"Idempotency-Replayed": "true"}, "application/json")
    try:
        content = work().model_dump_json()
    except BaseException:
        replies.drop(who, key)
        raise
    replies.finish(who, key, status, content)
    return Response(content, status, media_type="application/json")
