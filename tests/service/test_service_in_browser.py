"""The pages in a browser, at two widths: upload, no by key, page two, a sighting; nothing fails, axe finds nothing."""

import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from small_service import PASSWORD, picture

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser():
    """A browser of the system; skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=place, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@contextmanager
def serving(gallery):
    """Serve a gallery at a free port; yield the address."""
    import uvicorn

    from rewho.service.app import build_app

    app = build_app(gallery, users=True, write=lambda line: None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for _ in range(1200):
            if server.started:
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def check(page):
    """Find nothing wider than the window, and nothing serious by axe."""
    from axe_playwright_python.sync_playwright import Axe

    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} pixels wider than the window"
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], page.url


@pytest.mark.slow  # a minute, and a browser of its own
def test_a_search_from_login_to_a_sighting(gallery, browser, tmp_path):
    image = tmp_path / "query.jpg"
    image.write_bytes(picture(500))
    faults = []
    with serving(gallery) as address:
        for width in WIDTHS:
            scheme = "dark" if width == WIDTHS[0] else "light"
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda one: faults.append(one.text) if one.type in ("error", "warning") else None)
            page.on("pageerror", lambda one: faults.append(str(one)))
            page.on("response", lambda one: faults.append(f"{one.status} {one.url}") if one.status >= 400 else None)
            page.goto(address)
            check(page)
            page.get_by_label("Name").fill("admin")
            page.get_by_label("Password").fill(PASSWORD)
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Find a person").wait_for()
            check(page)
            page.set_input_files("#images", image)
            page.get_by_alt_text("The image you search with").wait_for()
            page.get_by_role("button", name="Search", exact=True).first.click()
            page.get_by_role("heading", name="Candidates").wait_for()
            assert page.get_by_alt_text("The image you searched with").is_visible()
            check(page)
            page.keyboard.press("ArrowRight")
            first = page.evaluate("document.activeElement.getAttribute('href')").partition("?")[0]
            page.keyboard.press("n")
            page.get_by_text("Your judgement is kept").wait_for()
            assert page.locator(f'a.crop[href^="{first}?"]').count() == 0, "a no never comes back"
            page.keyboard.press("m")
            page.wait_for_url("**page=2**")
            assert page.locator(".candidate").count() == 20
            page.keyboard.press("ArrowRight")
            page.keyboard.press("o")
            page.get_by_role("heading", name="Sighting").wait_for()
            check(page)
            for path in ("/sightings", "/people", "/cases", "/library", "/admin", "/admin/audit", "/account"):
                page.goto(f"{address}{path}")
                check(page)
            assert faults == []
            context.close()
