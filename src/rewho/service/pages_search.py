"""The pages of search: the query, its results, a sighting, and all sightings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.gallery.records import Found
from rewho.service.access import Identity, Operator, Viewer, set_purpose
from rewho.service.api_search import search_by_images
from rewho.service.forms import read_form
from rewho.service.pages import own_path, redirect, render
from rewho.service.schemas import MOST_ID, FiltersIn
from rewho.service.state import State, state_of
from rewho.service.words import Words, join, read_words

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=0, le=MOST_ID)]
PAGE = 20
LAST_PAGE = 50


@router.get("/")
def search_page(request: Request, user: Viewer) -> Response:
    """Ask whom to search for."""
    recent = state_of(request).gallery.browse(12, by=user.actor)
    return render(request, user, "search.html", recent=recent)


@router.post("/search")
async def search(request: Request, user: Viewer) -> Response:
    """Search with uploaded images, then show the results."""
    form, state = await read_form(request), state_of(request)
    images = await form.files("images")
    found = await run_in_threadpool(search_by_images, state, user, images, form, PAGE, FiltersIn())
    response = redirect(f"/results/{found.search}", q=form.text("q"))
    if form.text("purpose") != user.actor.purpose:
        set_purpose(request, response, form.text("purpose"))
    return response


@router.post("/sightings/{sighting:number}/search")
def search_sighting(request: Request, user: Viewer, sighting: Number) -> Response:
    """Search with a sighting of the gallery."""
    state = state_of(request)
    with state.place():
        found = state.gallery.search(sightings=[sighting], count=PAGE, by=user.actor)
    return redirect(f"/results/{found.search}")


@router.get("/results/{search:number}")
def results(
    request: Request,
    user: Viewer,
    search: Number,
    q: Annotated[str, Query(max_length=4000)] = "",
    camera: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
) -> Response:
    """Show the candidates of a search."""
    words = read_words(join([*read_words(q).words, f"camera:{camera}"]) if camera else q)
    if camera:
        return redirect(f"/results/{search}", q=words.text)
    state = state_of(request)
    found, query = find_page(state, user, search, words, page)
    first = PAGE * (page - 1)
    return render(
        request,
        user,
        "results.html",
        search=search,
        words=words,
        found=found,
        candidates=found.candidates[first:],
        first=first,
        page=page,
        more=found.after is not None and page < LAST_PAGE,
        query=state.gallery.sightings(query, by=user.actor) if query else [],
    )


def find_page(state: State, user: Identity, search: int, words: Words, page: int) -> tuple[Found, tuple[int, ...]]:
    """Return the results up to the end of a page, and the sightings that were searched with.

    A page is the end of one ranking, and not a continuation of another, so that after a judgement none is passed over.
    """
    with state.place():
        query = state.gallery.query(search=search, by=user.actor)
        found = state.gallery.search(query, count=PAGE * page, filters=words.filters, by=user.actor)
    return found, query.sightings


@router.post("/results/{search:number}/judge")
async def judge(request: Request, user: Operator, search: Number) -> Response:
    """Keep a judgement on a result."""
    form, gallery = await read_form(request), state_of(request).gallery
    verdicts = {form.number("sighting"): form.text("verdict")}
    await run_in_threadpool(gallery.judge, search, verdicts, by=user.actor)
    page = form.text("page")
    return redirect(f"/results/{search}", q=form.text("q"), page=page if page != "1" else "", done="judged")


@router.get("/sightings")
def sightings(
    request: Request,
    user: Viewer,
    before: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
    camera: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show all sightings, the last added first."""
    gallery = state_of(request).gallery
    found = gallery.browse(PAGE, before=before, cameras=[camera] if camera else [], by=user.actor)
    last = found[-1].id if len(found) == PAGE else None
    cameras = gallery.cameras(by=user.actor)
    return render(request, user, "sightings.html", found=found, last=last, camera=camera, cameras=cameras)


@router.get("/sightings/{sighting:number}")
def sighting_page(
    request: Request,
    user: Viewer,
    sighting: Number,
    back: Annotated[str, Query(max_length=4000)] = "",
    moment: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
) -> Response:
    """Show a sighting with its crops."""
    gallery = state_of(request).gallery
    one = gallery.sightings([sighting], by=user.actor)[0]
    crops = gallery.crops(sighting, by=user.actor)
    cases = [case for case in gallery.cases.list(by=user.actor) if case.closed is None]
    chosen = next((crop for crop in crops if crop.id == (moment or one.best)), None)
    if chosen is not None and not gallery.moments.known(chosen.id, by=user.actor):
        chosen = None
    values = {"one": one, "crops": crops, "cases": cases, "back": own_path(back, ""), "moment": chosen}
    return render(request, user, "sighting.html", 200, open=moment is not None, **values)
