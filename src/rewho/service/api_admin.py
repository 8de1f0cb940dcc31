"""The API's routes of users, tokens, jobs and the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from rewho.gallery.accounts import Account
from rewho.service.access import Admin, Operator, Viewer, need_everywhere
from rewho.service.answers import Key, answer_once, job_out
from rewho.service.problems import Refusal
from rewho.service.schemas import (
    API,
    MOST_ID,
    JobIn,
    JobOut,
    JobsOut,
    MeOut,
    TokenIn,
    TokenOut,
    UserChange,
    UserIn,
    UserOut,
)
from rewho.service.state import state_of
from rewho.service.worker import ask_job

router = APIRouter(prefix=API, tags=["administration"])
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


def user_out(account: Account) -> UserOut:
    """Return a user as the API gives them."""
    cameras = None if account.cameras is None else sorted(account.cameras)
    return UserOut(**{**account._asdict(), "cameras": cameras})


@router.get("/me", response_model=MeOut, operation_id="me")
def me(request: Request, user: Viewer) -> MeOut:
    """Return who asks."""
    names = [one.name for one in state_of(request).gallery.cameras(by=user.actor)]
    seen = None if user.everywhere else names
    return MeOut.model_validate({"name": user.actor.who, "role": user.account.role, "cameras": seen})


@router.post("/me/tokens", response_model=TokenOut, status_code=201, operation_id="make_token")
def make_token(request: Request, user: Viewer, body: TokenIn) -> TokenOut:
    """Make a token for a program, in the user's name. It is shown this once, and never again for the same request."""
    if not user.account.id:
        raise Refusal(400, "token: expected a user, got a gallery without users. Start `rewho serve` with --users yes.")
    accounts = state_of(request).gallery.accounts
    return TokenOut(token=accounts.make_token(user.account.id, body.name, days=body.days, by=user.actor))


@router.get("/users", response_model=list[UserOut], operation_id="list_users")
def list_users(request: Request, user: Admin) -> list[UserOut]:
    """List all users."""
    need_everywhere(user)
    return [user_out(one) for one in state_of(request).gallery.accounts.list()]


@router.post("/users", response_model=UserOut, status_code=201, operation_id="make_user")
def make_user(request: Request, user: Admin, body: UserIn, key: Key = "") -> Response:
    """Make a user. From the first one on, only users are let in."""
    need_everywhere(user)
    state = state_of(request)

    def make() -> UserOut:
        if not state.needs_login():
            fix = "Start `rewho serve` with --users yes, which makes the first administrator."
            raise Refusal(400, f"user: expected a service with users, got one without. {fix}")
        return user_out(state.gallery.accounts.create(body.name, body.password, body.role, body.cameras, by=user.actor))

    public = body.model_copy(update={"password": ""})  # a password is not kept, not even in a hash of the request
    return answer_once(request, user, key, public, 201, make)


@router.patch("/users/{number:number}", response_model=UserOut, operation_id="change_user")
def change_user(request: Request, user: Admin, number: Number, body: UserChange) -> UserOut:
    """Change a user; their sessions end."""
    need_everywhere(user)
    accounts = state_of(request).gallery.accounts
    given = body.model_dump(exclude_none=True)
    if "cameras" in given:
        given.setdefault("all_cameras", False)
    return user_out(accounts.change(number, by=user.actor, **given))


@router.get("/jobs", response_model=JobsOut, operation_id="list_jobs")
def list_jobs(
    request: Request,
    user: Operator,
    count: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
) -> JobsOut:
    """List long work, the newest first."""
    need_everywhere(user)
    found = state_of(request).gallery.jobs.list(count, before)
    return JobsOut(items=[job_out(one) for one in found], next=found[-1].id if len(found) == count else None)


@router.post("/jobs", response_model=JobOut, status_code=202, operation_id="start_job")
def start_job(request: Request, user: Operator, body: JobIn, key: Key = "") -> Response:
    """Start long work: add a source, group sightings, measure what similarities mean, or adapt the model."""
    need_everywhere(user)
    state = state_of(request)

    def start() -> JobOut:
        return job_out(state.gallery.jobs.read(ask_job(state, body.kind, body.model_dump(), user.actor)))

    return answer_once(request, user, key, body, 202, start)


@router.get("/jobs/{job:number}", response_model=JobOut, operation_id="read_job")
def read_job(request: Request, user: Operator, job: Number) -> JobOut:
    """Return how far a job is."""
    need_everywhere(user)
    return job_out(state_of(request).gallery.jobs.read(job))


@router.post("/jobs/{job:number}/stop", response_model=JobOut, operation_id="stop_job")
def stop_job(request: Request, user: Operator, job: Number) -> JobOut:
    """Ask a job to stop; what it finished is kept. A second request changes nothing."""
    need_everywhere(user)
    jobs = state_of(request).gallery.jobs
    jobs.stop(job, by=user.actor)
    return job_out(jobs.read(job))
