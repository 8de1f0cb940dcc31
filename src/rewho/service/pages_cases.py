"""The pages of cases: sightings collected for a purpose, and evidence as a zip file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.service.access import Operator, Viewer
from rewho.service.evidence import evidence_of
from rewho.service.forms import read_form
from rewho.service.pages import redirect, render
from rewho.service.problems import Refusal
from rewho.service.schemas import MOST_ID
from rewho.service.state import state_of

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


@router.get("/cases")
def cases_page(request: Request, user: Viewer) -> Response:
    """Show cases."""
    return render(request, user, "cases.html", cases=state_of(request).gallery.cases.list(by=user.actor))


@router.post("/cases")
async def open_case(request: Request, user: Operator) -> Response:
    """Open a case."""
    form, cases = await read_form(request), state_of(request).gallery.cases
    made = await run_in_threadpool(cases.open, form.text("name"), form.text("purpose"), by=user.actor)
    return redirect(f"/cases/{made}", done="opened")


@router.get("/cases/{case:number}")
def case_page(request: Request, user: Viewer, case: Number) -> Response:
    """Show the sightings of a case."""
    gallery = state_of(request).gallery
    found = next((one for one in gallery.cases.list(by=user.actor) if one.id == case), None)
    if found is None:
        raise Refusal(404, f"case {case}: expected a case of the gallery, got no such case.")
    notes = dict(gallery.cases.sightings(case, by=user.actor))
    sightings = gallery.sightings(list(notes), by=user.actor) if notes else []
    return render(request, user, "case.html", case=found, sightings=sightings, notes=notes)


@router.post("/cases/collect")
async def collect(request: Request, user: Operator) -> Response:
    """Put a sighting into a case."""
    form, cases = await read_form(request), state_of(request).gallery.cases
    case, note = form.number("case"), form.text("note")
    await run_in_threadpool(cases.collect, case, form.numbers("sightings"), note, by=user.actor)
    return redirect(f"/cases/{case}", done="collected")


@router.post("/cases/{case:number}/drop")
async def drop(request: Request, user: Operator, case: Number) -> Response:
    """Take a sighting out of a case."""
    form, cases = await read_form(request), state_of(request).gallery.cases
    await run_in_threadpool(cases.drop, case, form.numbers("sightings"), by=user.actor)
    return redirect(f"/cases/{case}", done="dropped")


@router.post("/cases/{case:number}/evidence")
def evidence(request: Request, user: Operator, case: Number) -> Response:
    """Send a case as a zip file."""
    return evidence_of(state_of(request), case, user.actor)
