"""Logging in and out, one's own account, and the purpose that goes into the audit."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.service.access import Viewer, check_origin, end_session, identify, set_purpose, set_session
from rewho.service.forms import read_form
from rewho.service.pages import own_path, redirect, render
from rewho.service.problems import Refusal
from rewho.service.state import state_of

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def login_page(request: Request) -> Response:
    """Ask for name and password."""
    target = own_path(request.query_params.get("next", ""))
    if await identify(request) is not None:
        return redirect(target)
    return render(request, None, "login.html", target=target, wrong="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Begin a session."""
    check_origin(request)
    form, state = await read_form(request), state_of(request)
    name, target = form.text("name"), own_path(form.text("next"))
    peer = request.client.host if request.client else ""
    try:
        state.logins.check(name, peer)
    except Refusal as refused:
        page = render(request, None, "login.html", refused.status_code, target=target, wrong=str(refused.detail))
        page.headers.update(refused.headers or {})
        return page
    found = await run_in_threadpool(state.gallery.accounts.log_in, name, form.raw("password"))
    if found is None:
        state.logins.fail(name, peer)
        wrong = "Name and password do not belong together."
        return render(request, None, "login.html", 401, target=target, wrong=wrong)
    response = redirect(target)
    set_session(request, response, found[0])
    return response


@router.post("/logout")
def logout(request: Request, user: Viewer) -> Response:
    """End the session."""
    state_of(request).gallery.accounts.log_out(user.cookie)
    response = redirect("/login")
    end_session(request, response)
    return response


@router.post("/purpose")
async def purpose(request: Request, user: Viewer) -> Response:
    """Keep why the user searches, for the audit."""
    del user
    form = await read_form(request)
    response = redirect(own_path(form.text("back")), done="purpose")
    set_purpose(request, response, form.text("purpose"))
    return response


@router.get("/account")
def account(request: Request, user: Viewer) -> Response:
    """Show one's own account."""
    tokens = state_of(request).gallery.accounts.tokens(user.account.id)
    return render(request, user, "account.html", tokens=tokens, secret="")


@router.post("/account/password")
async def change_password(request: Request, user: Viewer) -> Response:
    """Change one's own password."""
    form, state = await read_form(request), state_of(request)
    peer = request.client.host if request.client else ""
    state.logins.check(user.account.name, peer)
    accounts = state.gallery.accounts
    if not user.account.id or not await run_in_threadpool(accounts.fits, user.account.id, form.raw("old")):
        state.logins.fail(user.account.name, peer)
        raise Refusal(403, "password: expected the present one, got another. Type it again.")
    await run_in_threadpool(accounts.change, user.account.id, by=user.actor, password=form.raw("new"))
    response = redirect("/login", done="password")
    end_session(request, response)
    return response


@router.post("/account/tokens")
async def make_token(request: Request, user: Viewer) -> Response:
    """Make a token for a program, and show it this once."""
    form, accounts = await read_form(request), state_of(request).gallery.accounts
    if not user.account.id:
        raise Refusal(400, "token: expected a user, got a gallery without users. Start `rewho serve` with --users yes.")
    name = form.text("name")[:100] or "program"
    secret = await run_in_threadpool(accounts.make_token, user.account.id, name, days=365.0, by=user.actor)
    return render(request, user, "account.html", tokens=accounts.tokens(user.account.id), secret=secret)


@router.post("/account/tokens/{number}/end")
def end_token(request: Request, user: Viewer, number: str) -> Response:
    """End a token."""
    state_of(request).gallery.accounts.drop_token(user.account.id, number, by=user.actor)
    return redirect("/account")
