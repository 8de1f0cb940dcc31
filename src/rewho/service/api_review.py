"""The API's routes of review, calibration and sources."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from rewho.gallery.inputs import parse_time
from rewho.gallery.meaning import describe
from rewho.service.access import Admin, Operator, Viewer, need_everywhere
from rewho.service.answers import sighting_out
from rewho.service.problems import Refusal
from rewho.service.schemas import API, MOST_ID, AnswerIn, CalibrationOut, PairOut, RetentionIn, SourceOut
from rewho.service.state import state_of

router = APIRouter(prefix=API, tags=["review and quality"])
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


@router.get("/reviews", response_model=list[PairOut], operation_id="list_pairs")
def list_pairs(request: Request, user: Operator, count: Annotated[int, Query(ge=1, le=100)] = 20) -> list[PairOut]:
    """List the pairs of sightings whose answer would tell most; none that somebody has answered."""
    state = state_of(request)
    with state.place():
        pairs = state.gallery.review(count, by=user.actor)
    ids = sorted({one for pair in pairs for one in (pair.one, pair.other)})
    known = {one.id: sighting_out(one) for one in state.gallery.sightings(ids, by=user.actor)} if ids else {}
    return [PairOut(one=known[pair.one], other=known[pair.other], distance=pair.distance) for pair in pairs]


@router.put("/reviews", status_code=204, operation_id="answer_pair")
def answer_pair(request: Request, user: Operator, body: AnswerIn) -> Response:
    """Say whether two sightings are one person: same, different or skip. A later answer replaces the earlier one."""
    state_of(request).gallery.answer(body.one, body.other, body.answer, by=user.actor)
    return Response(status_code=204)


@router.get("/calibration", response_model=CalibrationOut, operation_id="read_calibration")
def read_calibration(request: Request, user: Viewer) -> CalibrationOut:
    """Return what similarities mean in this gallery; 404 until it was measured."""
    need_everywhere(user)
    made = state_of(request).gallery.calibration()
    if made is None:
        raise Refusal(404, "calibration: expected one, got none. Start a job of the kind calibrate.")
    return CalibrationOut(**{**made._asdict(), "content": dict(made.content), "text": describe(made)})


@router.get("/sources", response_model=list[SourceOut], operation_id="list_sources")
def list_sources(request: Request, user: Viewer) -> list[SourceOut]:
    """List what was added, with the dates of its erasure."""
    need_everywhere(user)
    return [SourceOut(**one) for one in state_of(request).gallery.stats()["sources"]]


@router.put("/sources/{source:number}/retention", status_code=204, operation_id="keep_until")
def keep_until(request: Request, user: Admin, source: Number, body: RetentionIn) -> Response:
    """Set when a source is erased; from then on it is in no result, and its erasure begins within a minute."""
    expires = parse_time(body.expires, what="expires") if body.expires else None
    state_of(request).gallery.erasure.keep_until(source, expires, by=user.actor)
    return Response(status_code=204)
