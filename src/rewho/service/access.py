"""Who asks: a session's cookie, a program's token, or this machine's only user; and whether they may.

A request that changes something carries a CSRF token unless a program's token proves that no browser was tricked.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.gallery.accounts import ROLES, SESSION_S, Account
from rewho.gallery.records import Actor
from rewho.service.forms import read_form
from rewho.service.problems import Refusal
from rewho.service.state import state_of

SAFE = ("GET", "HEAD", "OPTIONS")
PURPOSE = "rewho_purpose"
LONGEST_PURPOSE = 200


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Args:
        account: The user; one with number 0 is the only user of a gallery without users.
        actor: The user as the gallery knows them, with their purpose.
        csrf: Token that pages send along with changes; "" for programs.
        cookie: Secret of the session, or "".
    """

    account: Account
    actor: Actor
    csrf: str = ""
    cookie: str = ""

    def may(self, role: str) -> bool:
        """Return whether the user's role allows what a role may do."""
        return ROLES.index(self.account.role) >= ROLES.index(role)

    @property
    def everywhere(self) -> bool:
        """Whether the user sees every camera."""
        return self.account.cameras is None


def cookie_name(*, secure: bool) -> str:
    """Return the name of the session's cookie; with the prefix a browser takes it only over https from this host."""
    return "__Host-rewho" if secure else "rewho"


async def identify(request: Request) -> Identity | None:
    """Return who asks, or None."""
    state = state_of(request)
    purpose = unquote(request.cookies.get(PURPOSE, "")) or request.headers.get("x-purpose", "")
    purpose = " ".join(purpose.split())[:LONGEST_PURPOSE]
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token:
        account = await run_in_threadpool(state.gallery.accounts.token, token.strip())
        fits = account is not None and scheme.lower() == "bearer"
        return Identity(account, account.actor(purpose)) if fits and account else None
    if not state.needs_login():
        actor = Actor(purpose=purpose)
        return Identity(Account(0, actor.who, "admin", None), actor, state.local_csrf)
    secret = request.cookies.get(cookie_name(secure=state.secure), "")
    session = await run_in_threadpool(state.gallery.accounts.session, secret) if secret else None
    return session and Identity(session.account, session.account.actor(purpose), session.csrf, secret)


def need(role: str) -> Callable[[Request], Awaitable[Identity]]:
    """Return a dependency that lets users of a role in, and those who may more."""

    async def enter(request: Request) -> Identity:
        found = await identify(request)
        if found is None:
            raise Refusal(401, "login: expected a session or a token, got none.", {"www-authenticate": "Bearer"})
        if not found.may(role):
            raise Refusal(403, f"role: expected {role}, got {found.account.role}. Ask an administrator.")
        if request.method not in SAFE and found.csrf:
            await check_csrf(request, found.csrf)
        return found

    return enter


Viewer = Annotated[Identity, Depends(need("viewer"))]
Operator = Annotated[Identity, Depends(need("operator"))]
Admin = Annotated[Identity, Depends(need("admin"))]


async def check_csrf(request: Request, wanted: str) -> None:
    """Refuse a change that a page of another site may have sent."""
    check_origin(request)
    given = request.headers.get("x-csrf-token", "")
    if not given and not request.headers.get("content-type", "").startswith("application/json"):
        given = (await read_form(request)).text("csrf")
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        fix = "Load the page again; programs use a token, or send X-CSRF-Token."
        raise Refusal(403, f"CSRF token: expected that of this login, got {'another one' if given else 'none'}. {fix}")


def check_origin(request: Request) -> None:
    """Refuse a request that a browser says comes from another site."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    other = origin is not None and origin.partition("://")[2] != request.headers.get("host", "")
    if other or site not in ("same-origin", "none"):
        raise Refusal(403, "origin: expected a page of this service, got another site's.")


def set_session(request: Request, response: Response, secret: str) -> None:
    """Give a browser its session."""
    secure = state_of(request).secure
    response.set_cookie(
        cookie_name(secure=secure), secret, round(SESSION_S), path="/", secure=secure, httponly=True, samesite="strict"
    )


def end_session(request: Request, response: Response) -> None:
    """Take a browser's session away, and what it stored."""
    secure = state_of(request).secure
    response.delete_cookie(cookie_name(secure=secure), "/", secure=secure, httponly=True, samesite="strict")
    response.delete_cookie(PURPOSE, "/", secure=secure, httponly=True, samesite="strict")
    response.headers["Clear-Site-Data"] = '"cache", "storage"'


def set_purpose(request: Request, response: Response, purpose: str) -> None:
    """Keep why the user searches, for the audit, until the browser closes."""
    clean = quote(" ".join(purpose.split())[:LONGEST_PURPOSE])
    secure = state_of(request).secure
    response.set_cookie(PURPOSE, clean, path="/", secure=secure, httponly=True, samesite="strict")


def need_everywhere(user: Identity) -> None:
    """Refuse a user who does not see every camera."""
    if not user.everywhere:
        raise Refusal(403, "cameras: expected a user who sees every camera. Ask an administrator.")
