"""The service in a browser, by keyboard, at two widths, light and dark: nothing fails, axe finds nothing serious.

The service is a process of its own, as it is for users: in the process of the tests it starved beside the others, and
every wait of the browser timed out. With REWHO_SCREENSHOTS=FOLDER each page is kept as an image, to be looked at.
"""

import os
import re
import shutil
import sqlite3
import zipfile

import cv2
import pytest

from rewho.core.shipped import find_model
from rewho.gallery.cases import check_export
from rewho.gallery.gallery import Gallery
from rewho.settings import SamplingSettings

pytest.importorskip("av", reason="PyAV is an extra")
pytest.importorskip("pyarrow", reason="the extra video is not installed")
from rewho.stages import demo, demo_gallery
from rewho.video.frames import sample_frames
from running_service import serving
from small_gallery import TERMS, make_model

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)
PATIENCE_MS = 60_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def browser():
    """A browser of the system; skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    place = next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=place, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a gallery of rendered people on four cameras, and an image of one of them."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_gallery, "SECONDS", 40.0)
        patch.setattr(demo_gallery, "WALKERS", 9)
        demo_gallery.build_gallery(out, find_model("starter"), demo.TERMS, 1)
    with Gallery(out / "gallery", "cpu") as gallery:
        one = gallery.browse(1, cameras=["entrance"])[0]
        crop = next(crop for crop in gallery.crops(one.id) if crop.id == one.best)
    sampling = SamplingSettings(every=10**9, offset=crop.number)
    frame = next(iter(sample_frames(out / "gallery-videos" / "seed-1" / "entrance.mp4", sampling))).image
    left, top, right, bottom = (round(side) for side in crop.box)
    cv2.imwrite(str(out / "query.png"), frame[top:bottom, left:right, ::-1])
    return out


class Walker:
    """Somebody with a keyboard, who notes down whatever fails."""

    def __init__(self, browser, address, width):
        self.address, self.width, self.faults, self.expected = address, width, [], []
        scheme = "dark" if width == WIDTHS[0] else "light"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
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

    def press(self, role, name, key="Enter", **given):
        self.page.get_by_role(role, name=name, **given).first.focus()
        self.page.keyboard.press(key)

    def type(self, label, text, key=""):
        self.page.get_by_label(label).first.focus()
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


@pytest.mark.parametrize("width", WIDTHS)
def test_from_the_first_login_to_an_erasure(made, browser, tmp_path, width):
    folder = shutil.copytree(made / "gallery", tmp_path / "gallery")
    with serving(folder, "--users", "yes") as service:
        address, password = service.address, service.password
        walker = Walker(browser, address, width)
        page = walker.page
        walker.go("/")
        log_in(walker, password)
        walker.check("search")
        number = find_somebody(walker, made / "query.png")
        look_at_the_moment(walker)
        collect(walker, number, tmp_path)
        erase(walker, number)
        compare_pairs(walker)
        merge_and_undo(walker)
        measure(walker)
        for path in ("/", "/sightings", "/people", "/cases", "/library", "/admin", "/admin/audit", "/account"):
            walker.go(path)
        sqlite3.connect(folder / "gallery.sqlite", isolation_level=None).execute("UPDATE sessions SET expires = 0")
        page.goto(f"{address}/sightings?camera=market")
        log_in(walker, password)
        page.wait_for_url("**/sightings?camera=market")
        walker.context.close()


def log_in(walker, password):
    walker.page.get_by_role("heading", name="Log in").wait_for()
    walker.type("Name", "admin")
    walker.type("Password", password, "Enter")
    walker.page.get_by_role("link", name="Search").wait_for()


def find_somebody(walker, image):
    """Upload an image, say no to a candidate, and open one of the second page; return its number."""
    page = walker.page
    page.set_input_files("#images", image)
    page.get_by_alt_text("The image you search with").wait_for()
    walker.type("Purpose", "a walk")
    page.get_by_label("Camera that took it").select_option("entrance")
    walker.press("button", "Search", exact=True)
    page.get_by_role("heading", name="Candidates").wait_for()
    assert page.get_by_alt_text("The image you searched with").is_visible()
    walker.see("calibrated with")
    walker.check("candidates")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.activeElement.getAttribute('href')").partition("?")[0]
    page.keyboard.press("n")
    walker.see("Your judgement is kept")
    assert page.locator(f'a.crop[href^="{first}?"]').count() == 0, "a no never comes back"
    page.keyboard.press("m")
    page.wait_for_url("**page=2**")
    assert page.locator(".candidate").count() > 3
    page.keyboard.press("ArrowRight")
    page.keyboard.press("o")
    page.get_by_role("heading", name="Sighting").wait_for()
    return int(page.get_by_role("heading", name="Sighting").inner_text().split()[1])


def look_at_the_moment(walker):
    page = walker.page
    page.locator("#moment summary").focus()
    with page.expect_response(lambda one: one.url.endswith("/moment")) as moment:
        page.keyboard.press("Enter")
    assert moment.value.ok
    assert (
        page.locator("#moment img").evaluate("async (image) => { await image.decode(); return image.naturalWidth }")
        > 99
    )
    walker.check("sighting")


def collect(walker, number, place):
    """Open a case, collect the sighting into it, and download the evidence."""
    page = walker.page
    walker.go("/cases")
    walker.type("Name", "report 17")
    walker.type("Purpose", "lost child", "Enter")
    walker.see("Nothing is in this case yet")
    page.goto(f"{walker.address}/sightings/{number}")
    open_actions(walker)
    walker.type("Note", "by the gate", "Enter")
    walker.see("The sighting is in the case")
    walker.check("case")
    with page.expect_download() as download:
        walker.press("button", "Download the evidence")
    download.value.save_as(place / "evidence.zip")
    assert check_export(place / "evidence.zip") == []
    assert any(name.endswith(".jpg") for name in zipfile.ZipFile(place / "evidence.zip").namelist())


def open_actions(walker):
    walker.page.get_by_text("Name, collect, hide").focus()
    walker.page.keyboard.press("Enter")


def erase(walker, number):
    """Erase the sighting; it is gone, and so is every image of it."""
    page = walker.page
    page.goto(f"{walker.address}/sightings/{number}")
    open_actions(walker)
    walker.check("sighting actions")
    walker.type("To erase it for good", str(number), "Enter")
    page.get_by_role("heading", name="It is erased").wait_for()
    walker.check("receipt")
    answer = page.goto(f"{walker.address}/sightings/{number}")
    assert answer.status == 404
    assert all("404" in fault for fault in walker.faults), walker.faults
    walker.faults.clear()
    walker.check("gone")


def compare_pairs(walker):
    page = walker.page
    walker.go("/review")
    for key in ("y", "n", "s"):
        before = page.locator("input[name=one]").input_value(), page.locator("input[name=other]").input_value()
        page.keyboard.press(key)
        walker.see("Your answer is kept")
        page.get_by_role("link", name="Back to the pair before").wait_for()
        pair = "-".join(before)
        assert (
            page.get_by_role("link", name="Back to the pair before")
            .get_attribute("href")
            .split("=")[1]
            .startswith(pair)
        )
        page.evaluate("document.querySelector('.done').remove()")


def merge_and_undo(walker):
    page = walker.page
    walker.go("/people")
    walker.press("button", "Propose people again")
    page.get_by_role("cell", name="done", exact=True).wait_for()
    count = page.locator("a.crop").count()
    assert count > 3
    walker.press("link", "Person")
    page.get_by_role("heading", name="Timeline").wait_for()
    walker.type("Name", "red jacket", "Enter")
    walker.see("The name is kept")
    walker.check("person")
    walker.press("button", "Merge with")
    walker.see("They are one person now")
    page.goto(f"{walker.address}/people")
    assert page.locator("a.crop").count() == count - 1
    walker.press("button", "Undo change")
    walker.see("Undone.")
    assert page.locator("a.crop").count() == count


def measure(walker):
    walker.go("/quality")
    walker.press("button", "Measure again")
    walker.page.get_by_role("cell", name="done", exact=True).wait_for()
    walker.see("Calibrated")
    walker.check("quality")


@pytest.mark.parametrize("width", WIDTHS)
def test_an_empty_gallery_says_what_to_do(browser, tmp_path, width):
    (tmp_path / "footage").mkdir()
    Gallery.create(tmp_path / "empty", make_model(tmp_path / "model"), terms=TERMS).close()
    with serving(tmp_path / "empty", "--sources", str(tmp_path / "footage")) as service:
        assert service.password == ""
        walker = Walker(browser, service.address, width)
        for path in ("/", "/sightings", "/people", "/review", "/cases", "/library", "/quality", "/admin"):
            walker.page.goto(f"{service.address}{path}")
            walker.check(f"empty {path}")
            assert walker.page.locator("main .card").count() > 0, f"{path} says nothing"
        walker.context.close()
