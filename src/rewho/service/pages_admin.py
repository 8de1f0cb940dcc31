"""The pages of the library and of administration: sources, jobs, users, audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.gallery.audit import ACTIONS
from rewho.gallery.inputs import parse_time
from rewho.service.access import Admin, Operator, Viewer, need_everywhere
from rewho.service.forms import read_form, whole
from rewho.service.pages import redirect, render
from rewho.service.pages_review import work_of
from rewho.service.problems import Refusal
from rewho.service.schemas import MOST_ID
from rewho.service.state import state_of
from rewho.service.worker import ask_job, list_sources

router = APIRouter(include_in_schema=False)
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


@router.get("/library")
def library(request: Request, user: Viewer) -> Response:
    """Show cameras, and to those who see every camera also sources and jobs."""
    state = state_of(request)
    work = work_of(state, user, count=20)
    return render(
        request,
        user,
        "library.html",
        cameras=state.gallery.cameras(by=user.actor),
        stats=state.gallery.stats() if user.everywhere else None,
        addable=list_sources(state) if work["whole"] else [],
        folder=state.sources is not None,
        **work,
    )


@router.post("/library/add")
async def add(request: Request, user: Operator) -> Response:
    """Begin to add a source."""
    need_everywhere(user)
    form = await read_form(request)
    given = {name: form.text(name)[:1000] for name in ("path", "camera", "start", "zone")}
    await run_in_threadpool(ask_job, state_of(request), "add", given, user.actor)
    return redirect("/library", done="job")


@router.post("/library/jobs/{job:number}/stop")
def stop(request: Request, user: Operator, job: Number) -> Response:
    """Ask a job to stop."""
    need_everywhere(user)
    state_of(request).gallery.jobs.stop(job, by=user.actor)
    return redirect("/library", done="stopping")


@router.post("/admin/sources/{source:number}/retention")
async def keep_until(request: Request, user: Admin, source: Number) -> Response:
    """Set when a source is erased."""
    form, erasure = await read_form(request), state_of(request).gallery.erasure
    expires = parse_time(form.text("expires"), what="kept until") if form.text("expires") else None
    await run_in_threadpool(erasure.keep_until, source, expires, by=user.actor)
    return redirect("/admin", done="retention")


@router.get("/admin")
def admin(request: Request, user: Admin) -> Response:
    """Show the users."""
    need_everywhere(user)
    state = state_of(request)
    cameras = state.gallery.cameras(by=user.actor)
    sources = state.gallery.stats()["sources"]
    accounts = state.gallery.accounts.list()
    return render(request, user, "admin.html", accounts=accounts, cameras=cameras, sources=sources)


@router.get("/admin/audit")
def audit(
    request: Request,
    user: Admin,
    before: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
    action: Annotated[str, Query(max_length=40)] = "",
    who: Annotated[str, Query(max_length=64)] = "",
    sighting: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show who did what, when and why."""
    need_everywhere(user)
    gallery = state_of(request).gallery
    wanted = (whole(sighting, "sighting"),) if sighting else ()
    found = gallery.audit(action=action, who=who, sightings=wanted, before=before, limit=50)
    asked = {"action": action, "who": who, "sighting": sighting}
    last = found[-1].id if len(found) == 50 else None
    values = {"asked": asked, "last": last, "head": gallery.audit_head(), "actions": sorted(ACTIONS)}
    return render(request, user, "audit.html", 200, records=found, **values)


@router.post("/admin/users")
async def make_user(request: Request, user: Admin) -> Response:
    """Make a user."""
    need_everywhere(user)
    form, state = await read_form(request), state_of(request)
    if not state.needs_login():
        fix = "Start `rewho serve` with --users yes, which makes the first administrator."
        raise Refusal(400, f"user: expected a service with users, got one without. {fix}")
    cameras = None if form.text("all") else form.texts("cameras")
    if cameras is None and form.texts("cameras"):
        raise Refusal(400, "cameras: expected every camera or some, got both. Take the mark off “every camera”.")
    accounts = state.gallery.accounts
    await run_in_threadpool(
        accounts.create, form.text("name"), form.raw("password"), form.text("role"), cameras, by=user.actor
    )
    return redirect("/admin", done="user")


@router.post("/admin/users/{number:number}")
async def change_user(request: Request, user: Admin, number: Number) -> Response:
    """Change a user: their role, or whether they are locked out."""
    need_everywhere(user)
    form, accounts = await read_form(request), state_of(request).gallery.accounts
    disabled = {"lock": True, "unlock": False}.get(form.text("lock"))
    role = form.text("role") or None
    await run_in_threadpool(accounts.change, number, by=user.actor, role=role, disabled=disabled)
    return redirect("/admin", done="changed")
