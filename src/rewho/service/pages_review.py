"""The pages of review, where pairs are compared, and of quality, where similarities get a meaning."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.gallery.calibration import Calibration
from rewho.gallery.jobs import Job
from rewho.gallery.review import Answer
from rewho.gallery.tables import SEARCH_COLUMNS, THRESHOLD_COLUMNS, search_rows, threshold_rows
from rewho.report.runs import find_runs
from rewho.service.access import Identity, Operator, Viewer, need_everywhere
from rewho.service.forms import read_form, whole
from rewho.service.pages import redirect, render
from rewho.service.state import State, state_of
from rewho.service.worker import ask_job

router = APIRouter(include_in_schema=False)
ROUND = 20
"""Pairs that are looked for at once: they travel in the page's address, so that an answer needs no new search."""
MOST_CROPS = 6
FEWEST_POINTS = 5
Pairs = list[tuple[int, int]]


def read_pairs(text: str) -> Pairs:
    """Return pairs of sightings from text.

    Example:
        >>> read_pairs("3-8,5-9"), read_pairs("")
        ([(3, 8), (5, 9)], [])
    """
    both = [word.partition("-") for word in text.split(",") if word]
    return [(whole(one, "pair"), whole(other, "pair")) for one, _, other in both]


def write_pairs(pairs: Pairs) -> str:
    """Return pairs as text that `read_pairs` reads."""
    return ",".join(f"{one}-{other}" for one, other in pairs)


@router.get("/review")
def review(
    request: Request,
    user: Operator,
    pairs: Annotated[str, Query(max_length=2000)] = "",
    last: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Ask whether two sightings are one person; after the pairs of a round the next ones are looked for."""
    state, left = state_of(request), read_pairs(pairs)
    if not left:
        with state.place():
            left = [(one.one, one.other) for one in state.gallery.review(ROUND, by=user.actor)]
    gallery = state.gallery
    sides = gallery.sightings(left[0], by=user.actor) if left else []
    crops = {one.id: gallery.crops(one.id, by=user.actor) for one in sides}
    for one in sides:  # the best first, then some of the others, evenly spaced
        others = [crop for crop in crops[one.id] if crop.id != one.best]
        crops[one.id] = others[:: max(1, -(-len(others) // MOST_CROPS))]
    text, rest, before = write_pairs(left), write_pairs(left[1:]), write_pairs(read_pairs(last))
    values = {"sides": sides, "crops": crops, "left": left}
    return render(request, user, "review.html", **cast("Any", values), text=text, rest=rest, last=before)


@router.post("/review")
async def answer(request: Request, user: Operator) -> Response:
    """Store an answer and show the next question."""
    form, gallery = await read_form(request), state_of(request).gallery
    one, other = form.number("one"), form.number("other")
    given = cast("Answer", form.text("answer"))  # checked where it is stored
    await run_in_threadpool(gallery.answer, one, other, given, by=user.actor)
    return redirect("/review", pairs=write_pairs(read_pairs(form.text("rest"))), last=f"{one}-{other}", done="answered")


@router.get("/quality")
def quality(request: Request, user: Viewer) -> Response:
    """Show what similarities mean here: thresholds, what they find, what searches miss."""
    need_everywhere(user)
    shared = state_of(request)
    gallery = shared.gallery
    made, names = gallery.calibration(), {one.id: one.name for one in gallery.cameras(by=user.actor)}
    return render(
        request,
        user,
        "quality.html",
        made=made,
        text=gallery.calibration_text(),
        state=int(gallery.database.read("version", "0")),
        thresholds=threshold_rows(made, names) if made else [],
        searches=search_rows(made) if made else [],
        columns=(THRESHOLD_COLUMNS, SEARCH_COLUMNS),
        curve=_curve(made) if made else "",
        known=made is not None and any(row[2] != "-" for row in threshold_rows(made, names)),
        runs=find_runs(shared.runs) if shared.runs else [],
        folder=shared.runs is not None,
        **work_of(shared, user, ["calibrate", "adapt"]),
    )


def _curve(made: Calibration) -> str:
    """Return the DET curve as the address of an image that holds it; "" where too few errors are known to draw one."""
    det = made.content["det"]
    shares = zip(det["false_match"], det["false_non_match"], strict=True)
    if sum(0 < one < 1 and 0 < other < 1 for one, other in shares) < FEWEST_POINTS:
        return ""
    from rewho.report.figures import det_plot  # matplotlib takes a second to import

    drawn = det_plot({made.content["scores"]: det})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.svg).decode()}"


@router.post("/quality/calibrate")
async def calibrate(request: Request, user: Operator) -> Response:
    """Begin to measure what similarities mean."""
    need_everywhere(user)
    basis = (await read_form(request)).text("basis", "auto")
    await run_in_threadpool(ask_job, state_of(request), "calibrate", {"basis": basis}, user.actor)
    return redirect("/quality", done="job")


@router.post("/quality/adapt")
async def adapt(request: Request, user: Operator) -> Response:
    """Begin to adapt the model to this gallery's images."""
    need_everywhere(user)
    await run_in_threadpool(ask_job, state_of(request), "adapt", {}, user.actor)
    return redirect("/quality", done="job")


@router.post("/people/group")
async def group(request: Request, user: Operator) -> Response:
    """Begin to propose people across cameras."""
    need_everywhere(user)
    await run_in_threadpool(ask_job, state_of(request), "group", {}, user.actor)
    return redirect("/people", done="job")


def work_of(state: State, user: Identity, kinds: Sequence[str] = (), count: int = 1) -> dict[str, Any]:
    """Return what a page shows of long work, its newest jobs first, to those who may see it."""
    whole_ = user.everywhere and user.may("operator")
    jobs: list[Job] = state.gallery.jobs.list(200 if kinds else count) if whole_ else []
    chosen = [one for one in jobs if not kinds or one.kind in kinds][:count]
    return {"jobs": chosen, "now": datetime.now(UTC).timestamp(), "whole": whole_}
