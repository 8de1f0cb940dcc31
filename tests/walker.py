"""Somebody who uses the service in a browser of the system, by keyboard alone, and notes down whatever fails."""

import os
import re
import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)
PATIENCE_MS = 60_000
MOST_TABS = 400


@contextmanager
def open_browser():
    """Open a browser of the system; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=place, args=arguments)
        yield opened
        opened.close()


class Walker:
    """Somebody with a keyboard, who notes down whatever fails."""

    def __init__(self, browser, address, width):
        self.address, self.width, self.faults, self.expected = address, width, [], []
        scheme = "dark" if width == WIDTHS[0] else "light"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("filechooser", lambda _: None)  # from now on: asked for later, it comes too late on a busy machine
        self.page.on("console", lambda one: self.note(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda one: self.note(str(one)))
        self.page.on("requestfailed", lambda one: self.note(f"{one.failure} {one.url}"))
        self.page.on("response", lambda one: self.note(f"{one.status} {one.url}") if one.status >= 400 else None)

    def note(self, fault):
        if "ERR_ABORTED" not in fault:  # of images that a next page did not wait for, and of downloads
            self.faults.append(fault)

    def go(self, path):
        self.page.goto(f"{self.address}{path}")
        self.check(path)

    def reach(self, locator):
        """Press Tab until an element has the focus; it must come within as many presses as a page has stops."""
        one = locator.first
        one.wait_for()
        for _ in range(MOST_TABS):
            if one.evaluate("(element) => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"no Tab leads to {locator} on {self.page.url}")

    def press(self, role, name, key="Enter", **given):
        self.reach(self.page.get_by_role(role, name=name, **given))
        self.page.keyboard.press(key)

    def type(self, label, text, key=""):
        self.reach(self.page.get_by_label(label))
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)
        if key:
            self.page.keyboard.press(key)

    def see(self, text, **given):
        self.page.get_by_text(text, **given).first.wait_for()

    def check(self, name=""):
        """Find nothing wider than the window, nothing serious by axe in light and dark, and no fault so far."""
        from axe_playwright_python.sync_playwright import Axe

        page, folder = self.page, os.environ.get("REWHO_SCREENSHOTS")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{page.url} is {wide} pixels wider than the window"
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            serious = [
                (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
                for one in found
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], f"{page.url}, {scheme}"
            if folder:
                words = re.sub(r"\W+", "-", name or page.url.partition(self.address)[2]).strip("-") or "search"
                page.screenshot(path=f"{folder}/{words[:40]}-{self.width}-{scheme}.png", full_page=True)
        assert self.faults == []
