"""The pages of runs: the evaluations and trainings in the folder of runs, their curves, their own pages.

A run's own page is sent with a policy of its own: its style sheet by its hash, no script, no form.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from rewho.gallery import audit
from rewho.report.runs import TYPES, find_file, find_runs, policy_of, read_curves
from rewho.service.access import Identity, Viewer, need_everywhere
from rewho.service.pages import render
from rewho.service.problems import Refusal
from rewho.service.state import State, state_of

router = APIRouter(include_in_schema=False)


@router.get("/quality/run")
def run_page(request: Request, user: Viewer, name: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """Show a run: its figures, and the curves of a training."""
    need_everywhere(user)
    state = state_of(request)
    folder = _folder(state)
    run = next((one for one in find_runs(folder) if one.name == name), None)
    if run is None:
        raise Refusal(404, "run: expected one of the folder of runs, got none. Choose one on the Quality page.")
    _record(state, user, run.name)
    curves = read_curves(folder / run.name)
    return render(request, user, "run.html", run=run, loss=_draw(curves, "loss"), scores=_draw(curves, "mAP", "Rank-1"))


@router.get("/runs/{path:path}")
def run_file(request: Request, user: Viewer, path: str) -> Response:
    """Return a page of a run, or a file that the page links to."""
    need_everywhere(user)
    state = state_of(request)
    run, place = find_file(_folder(state), path)
    _record(state, user, run.name)
    content, kind = place.read_bytes(), TYPES[place.suffix.lower()]
    headers = {"Content-Security-Policy": policy_of(content if kind == "text/html" else b"")}
    return Response(content, headers=headers, media_type=kind)


def _folder(state: State) -> Path:
    if state.runs is None:
        raise Refusal(404, "runs: expected a folder of runs, got a service without one. Start it with --runs FOLDER.")
    return state.runs


def _record(state: State, user: Identity, run: str) -> None:
    """Write the view into the audit."""
    database = state.gallery.database
    with database.writing():
        audit.append(database, user.actor.who, user.actor.purpose, "run", {"run": run})


def _draw(curves: dict[str, list[tuple[float, float]]], *names: str) -> str:
    """Return curves as the address of an image that holds them; "" where there are none."""
    chosen = {name: curves[name] for name in names if name in curves}
    if not chosen:
        return ""
    from rewho.report.adaptation_page import line_plot  # matplotlib takes a second to import

    return f"data:image/svg+xml;base64,{base64.b64encode(line_plot(chosen).svg).decode()}"
