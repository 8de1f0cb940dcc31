"""What all pages share: templates, the values that each page needs, and redirects that stay here."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from rewho.core.record import rewho_version
from rewho.report.style import STYLE_SHEET
from rewho.service.access import Identity
from rewho.service.problems import Refusal
from rewho.service.state import state_of

router = APIRouter(include_in_schema=False)


class Tab(NamedTuple):
    """A page of the bar at the top: its path, its name, the least role, and whether it needs to see every camera."""

    path: str
    name: str
    role: str
    everywhere: bool = False


TABS = (
    Tab("/", "Search", "viewer"),
    Tab("/sightings", "Sightings", "viewer"),
    Tab("/people", "People", "viewer"),
    Tab("/review", "Review", "operator"),
    Tab("/cases", "Cases", "viewer"),
    Tab("/library", "Library", "viewer"),
    Tab("/quality", "Quality", "viewer", everywhere=True),
    Tab("/admin", "Admin", "admin", everywhere=True),
)
DONE = {
    "answered": "Your answer is kept.",
    "retention": "The date is kept. Once it has passed, the source is in no result and is erased within a minute.",
    "judged": "Your judgement is kept. Order and similarities were computed anew, with it.",
    "named": "The name is kept.",
    "merged": "They are one person now. Undo it below if that was wrong.",
    "split": "They are two people now. Undo it below if that was wrong.",
    "out": "The sightings belong to nobody now. Undo it below if that was wrong.",
    "undone": "Undone.",
    "collected": "The sighting is in the case.",
    "dropped": "The sighting is out of the case.",
    "opened": "The case is open. Collect sightings into it from their own pages.",
    "hidden": "Hidden: the sighting is in no result any more.",
    "shown": "The sighting is found again.",
    "job": "It began. You may leave this page; the work continues.",
    "stopping": "It stops at the next safe point; what was finished is kept.",
    "user": "The user was made. Tell them their password in person.",
    "changed": "The user was changed; they have to log in again.",
    "password": "Your password was changed. Log in with it.",
    "purpose": "The purpose is written into the audit with everything you do from now on.",
}
"""What a page says after a change, by the word in its address."""


@functools.cache
def templates() -> Environment:
    """Return the templates; every value is escaped, and an unknown name is an error."""
    loader = PackageLoader("rewho.service", "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"when": when, "span": span}
    made.globals |= {"version": rewho_version(), "tabs": TABS}
    return made


def static_files() -> Mapping[str, tuple[str, bytes]]:
    """Return type and content of the files that pages load, by name."""
    return _static()


@functools.cache
def _static() -> dict[str, tuple[str, bytes]]:
    loader = PackageLoader("rewho.service", "static")
    own = {name: loader.get_source(templates(), name)[0] for name in ("service.css", "service.js", "icon.svg")}
    style = f"{STYLE_SHEET}\n{own['service.css']}"
    return {
        "style.css": ("text/css", style.encode()),
        "service.js": ("text/javascript", own["service.js"].encode()),
        "icon.svg": ("image/svg+xml", own["icon.svg"].encode()),
    }


@router.get("/static/{name}")
def static(request: Request, name: str) -> Response:
    """Return a file that pages load."""
    if name not in static_files():
        raise Refusal(404, "file: no such file.")
    kind, content = static_files()[name]
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)


def render(request: Request, user: Identity | None, template: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - what templates show
    """Return a page."""
    state = state_of(request)
    zones = {one.name: one.zone for one in state.gallery.cameras(by=user.actor)} if user else {}

    def image(crop: int | None) -> str:
        if crop is None or user is None:
            return "/static/icon.svg"
        return f"/api/v1/crops/{crop}/thumbnail?proof={state.sign(user.actor.who, crop)}"

    content = (
        templates()
        .get_template(template)
        .render(
            {
                "user": user,
                "csrf": user.csrf if user else "",
                "purpose": user.actor.purpose if user else "",
                "users": state.needs_login(),
                "path": request.url.path,
                "zones": zones,
                "image": image,
                "done": DONE.get(request.query_params.get("done", ""), ""),
                "address": address,
                **values,
            }
        )
    )
    return HTMLResponse(content, status)


def address(path: str, **values: object) -> str:
    """Return a path with a query, without values that are empty."""
    given = {name: value for name, value in values.items() if value not in ("", None, False)}
    return f"{path}?{urlencode(given)}" if given else path


def redirect(path: str, **values: object) -> RedirectResponse:
    """Return a redirect to another page of this service."""
    return RedirectResponse(address(path, **values), 303)


def own_path(text: str, otherwise: str = "/") -> str:
    r"""Return a path of this service that a form named; anything else becomes `otherwise`.

    Example:
        >>> own_path("/people/3?page=2"), own_path("//evil.example/"), own_path("/\\evil.example")
        ('/people/3?page=2', '/', '/')
    """
    sound = text.isprintable() and text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if sound else otherwise


def when(seconds: float | None, zone: str = "UTC") -> str:
    """Return a time in a zone as people read it.

    Example:
        >>> when(0.0, "Europe/Berlin"), when(None)
        ('1970-01-01 01:00:00 CET', 'time unknown')
    """
    if seconds is None:
        return "time unknown"
    return f"{datetime.fromtimestamp(round(seconds), UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S %Z}"


def span(seconds: float | None) -> str:
    """Return a length of time in words.

    Example:
        >>> span(5), span(125), span(7300), span(200_000)
        ('5 s', '2 min', '2 h', '2 days')
    """
    if seconds is None:
        return ""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
