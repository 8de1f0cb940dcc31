"""What somebody else does meanwhile, in a browser: a key that cannot be kept is said to be so, and no page is lost."""

import re
import sqlite3

import pytest

from rewho.gallery.gallery import Gallery
from running_service import serving
from small_service import PASSWORD
from walker import Walker, open_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def log_in(page, name="admin"):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")


def test_an_answer_that_is_not_kept_says_so(gallery):
    folder = gallery.folder
    with serving(folder, "--users", "yes") as service, open_browser() as browser:
        walker = Walker(browser, service.address, 390)
        page = walker.page
        page.goto(f"{service.address}/sightings/1")
        log_in(page)
        page.get_by_role("button", name="Find this person").click()
        page.get_by_role("heading", name="Candidates").wait_for()
        results = page.url
        first = page.locator(".candidate").first
        number = int(re.search(r"\d+", first.locator("button[value=no]").get_attribute("aria-label"))[0])
        with Gallery(folder, "cpu") as other:
            other.erasure.forget([number])
        first.locator("a.crop").focus()
        page.keyboard.press("n")
        page.get_by_role("alert").get_by_text("no such sighting").wait_for()
        assert page.url == results and page.locator(".candidate").count() > 10, "the page is still there"
        page.context.set_offline(True)
        page.keyboard.press("n")
        page.get_by_text("The service does not answer: nothing was kept").wait_for()
        assert page.get_by_role("alert").count() == 1
        page.context.set_offline(False)
        sqlite3.connect(folder / "gallery.sqlite", isolation_level=None).execute("UPDATE sessions SET expires = 0")
        page.locator(".candidate a.crop").nth(2).focus()
        page.keyboard.press("n")
        page.get_by_role("heading", name="Log in").wait_for()
        log_in(page)
        page.wait_for_url(results)
        walker.context.close()
