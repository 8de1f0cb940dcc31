"""The pages of people: named and proposed, timeline, merge, split, undo; and what is done with a sighting."""

from __future__ import annotations

import base64
import json
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.service.access import Admin, Operator, Viewer
from rewho.service.forms import read_form
from rewho.service.pages import redirect, render
from rewho.service.pages_review import work_of
from rewho.service.problems import Refusal
from rewho.service.schemas import MOST_ID
from rewho.service.state import state_of

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


@router.get("/people")
def people_page(request: Request, user: Viewer) -> Response:
    """Show people, and the last changes with a button to undo each."""
    people = state_of(request).gallery.people
    whole = user.everywhere and user.may("operator")
    found = people.list(by=user.actor)
    work = work_of(state_of(request), user, ["group"])
    return render(request, user, "people.html", people=found, events=people.events(20) if whole else [], **work)


@router.get("/people/{person:number}")
def person_page(request: Request, user: Viewer, person: Number) -> Response:
    """Show a person's timeline, and who looks like them."""
    gallery = state_of(request).gallery
    stays = gallery.people.timeline(person, by=user.actor)
    known = {one.id: one for one in gallery.people.list(by=user.actor)}
    alike = gallery.people.suggest_merges(person, by=user.actor) if user.everywhere else []
    return render(request, user, "person.html", person=known[person], stays=stays, alike=alike)


@router.post("/people/name")
async def name(request: Request, user: Operator) -> Response:
    """Name a person, or make one of sightings."""
    form, people = await read_form(request), state_of(request).gallery.people
    person = form.number("person") if form.text("person") else None
    made = await run_in_threadpool(
        people.name, form.text("name"), person=person, sightings=form.numbers("sightings"), by=user.actor
    )
    return redirect(f"/people/{made}", done="named")


@router.post("/people/merge")
async def merge(request: Request, user: Operator) -> Response:
    """Make several people one."""
    form, people = await read_form(request), state_of(request).gallery.people
    made = await run_in_threadpool(people.merge, form.numbers("people"), by=user.actor)
    return redirect(f"/people/{made}", done="merged")


@router.post("/people/split")
async def split(request: Request, user: Operator) -> Response:
    """Make the chosen sightings a person of their own, or let them belong to nobody."""
    form, people = await read_form(request), state_of(request).gallery.people
    chosen = form.numbers("sightings")
    if not chosen:
        raise Refusal(400, "sightings: expected one or more, got none. Mark those that belong to somebody else.")
    if form.text("to") == "nobody":
        await run_in_threadpool(people.take_out, chosen, by=user.actor)
        return redirect("/people", done="out")
    made = await run_in_threadpool(people.split, chosen, by=user.actor)
    return redirect(f"/people/{made}", done="split")


@router.post("/people/undo/{event:number}")
def undo(request: Request, user: Operator, event: Number) -> Response:
    """Undo a change."""
    state_of(request).gallery.people.undo(event, by=user.actor)
    return redirect("/people", done="undone")


@router.post("/sightings/{sighting:number}/hide")
async def hide(request: Request, user: Operator, sighting: Number) -> Response:
    """Take a sighting out of results, or let it be found again."""
    form, erasure = await read_form(request), state_of(request).gallery.erasure
    again = form.text("to") == "show"
    await run_in_threadpool(erasure.show if again else erasure.hide, [sighting], by=user.actor)
    return redirect(f"/sightings/{sighting}", done="shown" if again else "hidden")


@router.post("/sightings/{sighting:number}/forget")
async def forget(request: Request, user: Admin, sighting: Number) -> Response:
    """Erase a sighting, once its number was typed, and show the signed receipt."""
    form, state = await read_form(request), state_of(request)
    if form.text("sure") != str(sighting):
        raise Refusal(400, f"forget: expected the number {sighting}, typed by hand, got another. Nothing was erased.")
    receipt = await run_in_threadpool(state.gallery.erasure.forget, [sighting], by=user.actor)
    file = base64.b64encode(json.dumps(receipt, indent=1).encode()).decode()
    return render(request, user, "receipt.html", receipt=receipt, file=f"data:application/json;base64,{file}")
