"""The application: routes, errors in words, health, metrics, and what happens at the start and the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from rewho.core.check import UserError
from rewho.core.progress import say
from rewho.core.record import rewho_version
from rewho.gallery.gallery import Gallery
from rewho.service import (
    api_admin,
    api_people,
    api_review,
    api_search,
    pages,
    pages_admin,
    pages_cases,
    pages_login,
    pages_people,
    pages_review,
    pages_runs,
    pages_search,
)
from rewho.service.access import Viewer, identify
from rewho.service.limits import Gate
from rewho.service.pages import address, render
from rewho.service.problems import ANSWERS, problem, refusal_of, request_id
from rewho.service.schemas import API
from rewho.service.state import State, state_of
from rewho.service.worker import Adapt, CutVideo, Worker
from rewho.settings.serve import LOOPBACK, ServiceLimits

ABOUT = (
    "Search a gallery for people, correct it, and see who did what. A result is a list of candidates, never a "
    "certainty. Programs send `Authorization: Bearer TOKEN`; a token is made on the page of one's own account."
)
watch = APIRouter(tags=["operation"])


@watch.get("/health/live", operation_id="live", response_class=PlainTextResponse)
def live() -> str:
    """Say that the service runs."""
    return "ok"


@watch.get("/health/ready", operation_id="ready", response_class=PlainTextResponse)
def ready(request: Request) -> Response:
    """Say whether the gallery is in memory and its database answers."""
    state = state_of(request)
    if not state.ready.is_set():
        return PlainTextResponse("the gallery is being read", 503, {"Retry-After": "2"})
    state.gallery.jobs.list(1)
    return PlainTextResponse("ready")


@watch.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
def metrics(request: Request, user: Viewer) -> Response:
    """Return counts and times of requests for Prometheus; nothing of what the gallery holds."""
    del user
    state = state_of(request)
    jobs = Counter(job.state for job in state.gallery.jobs.list(200))
    return PlainTextResponse(state.metrics.text(dict(jobs)), media_type="text/plain; version=0.0.4; charset=utf-8")


PAGES = (pages, pages_login, pages_search, pages_review, pages_runs, pages_people, pages_cases, pages_admin)
ROUTERS = [module.router for module in (api_search, api_people, api_review, api_admin, *PAGES)] + [watch]


def build_app(
    gallery: Gallery,
    *,
    users: bool = False,
    secure: bool = False,
    sources: Path | None = None,
    runs: Path | None = None,
    limits: ServiceLimits | None = None,
    names: frozenset[str] = frozenset(LOOPBACK),
    write: Callable[[str], None] = say,
    cut_video: CutVideo | None = None,
    adapt: Adapt | None = None,
) -> FastAPI:
    """Return the service of a gallery as an ASGI application.

    Args:
        gallery: The open gallery; its opener closes it.
        users: Let only users in; a gallery that has users lets nobody else in.
        secure: Send cookies only over https.
        sources: Folder whose contents may be added.
        runs: Folder whose evaluations and trainings are shown.
        limits: What is accepted.
        names: Host names that are answered; none answers all, for a service that lets only users in.
        write: Writes a line of the log.
        cut_video: Cuts the people out of a video that is added from the page.
        adapt: Adapts the gallery's model to its own images.
    """
    state = State(gallery, limits or ServiceLimits(), users=users, secure=secure, sources=sources, runs=runs)
    worker = Worker(state, cut_video, adapt)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        worker.start()
        try:
            yield
        finally:
            worker.end()

    app = FastAPI(
        title="rewho",
        version=rewho_version(),
        description=ABOUT,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        responses=ANSWERS,
    )
    app.state.rewho, app.state.worker = state, worker
    for router in ROUTERS:
        app.include_router(router)
    for kind, answer in ((HTTPException, _refused), (UserError, _mistaken), (RequestValidationError, _misread)):
        app.add_exception_handler(kind, cast("Any", answer))
    app.add_exception_handler(404, cast("Any", _refused))
    app.add_exception_handler(405, cast("Any", _refused))
    app.add_exception_handler(500, cast("Any", _failed))
    app.add_middleware(
        cast("Any", Gate), limits=state.limits, metrics=state.metrics, write=write, names=names, https=secure
    )
    return app


BARE = {"Not Found": "There is nothing at this address.", "Method Not Allowed": "This address is not called like that."}
"""What the framework says, in words."""


async def _refused(request: Request, error: HTTPException) -> Response:
    detail = BARE.get(str(error.detail), str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    if request.url.path.startswith((API, "/health", "/metrics")):
        return problem(error.status_code, detail, request_id(request), headers)
    if error.status_code == 401:
        target = request.url.path if request.method == "GET" else "/"
        query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
        return RedirectResponse(address("/login", next=f"{target}{query}" if target != "/" else ""), 303)
    user = await identify(request)
    bare = request.url.path if request.method == "GET" and request.query_params.get("q") else ""
    page = render(request, user, "error.html", error.status_code, code=error.status_code, detail=detail, bare=bare)
    page.headers.update(headers)
    return page


def _methods(request: Request) -> list[str]:
    """Return the methods that a path takes; the framework names only those of the first route that fits."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    fitting = [route for route in routes if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in fitting for method in route.methods or ()})


async def _mistaken(request: Request, error: UserError) -> Response:
    return await _refused(request, refusal_of(error))


async def _misread(request: Request, error: RequestValidationError) -> Response:
    parts = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
    return await _refused(request, HTTPException(422, "; ".join(parts)))


async def _failed(request: Request, error: Exception) -> Response:
    del error  # the server writes it into the log
    detail = f"The service failed. Its log has the reason under request {request_id(request)}."
    return problem(500, detail, request_id(request))
