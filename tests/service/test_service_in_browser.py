"""The service in a browser, by keyboard, at two widths, light and dark: nothing fails, axe finds nothing serious.

The service is a process of its own, as it is for users: in the process of the tests it starved beside the others, and
every wait of the browser timed out. With REWHO_SCREENSHOTS=FOLDER each page is kept as an image, to be looked at.
"""

import json
import shutil
import sqlite3
import zipfile

import cv2
import pytest

from rewho.core.shipped import find_model
from rewho.core.signing import check_receipt
from rewho.gallery.cases import check_export
from rewho.gallery.gallery import Gallery
from rewho.report.html_page import build_page, card, table
from rewho.settings import SamplingSettings

pytest.importorskip("av", reason="PyAV is an extra")
pytest.importorskip("pyarrow", reason="the extra video is not installed")
from rewho.stages import demo, demo_gallery
from rewho.video.frames import sample_frames
from running_service import serving
from small_gallery import TERMS, make_model
from walker import WIDTHS, Walker, open_browser

DECODED = "async (image) => { await image.decode(); return image.naturalWidth }"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


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
    write_runs(out / "runs")
    return out


def write_runs(folder):
    """Write a training and an evaluation, as far as they are shown."""
    record = {"settings": {}, "inputs": {}, "started": "2026-05-01T10:00:00Z"}
    for name, stage in (("trained", "train"), ("evaluated", "evaluate")):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text(json.dumps({**record, "stage": stage}))
    rows = [{"step": 10 * epoch, "epoch": epoch, "epoch_total": 5.0 - epoch} for epoch in (1, 2, 3)]
    (folder / "trained" / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    body = card("Scores", table([("Rank-1", 62.3)], ("score", "percent")))
    (folder / "evaluated" / "index.html").write_text(build_page("model on people", body))


@pytest.mark.parametrize("width", WIDTHS)
def test_from_the_first_login_to_an_erasure(made, browser, tmp_path, width):
    folder = shutil.copytree(made / "gallery", tmp_path / "gallery")
    with serving(folder, "--users", "yes", "--runs", str(made / "runs")) as service:
        address, password = service.address, service.password
        walker = Walker(browser, address, width)
        page = walker.page
        walker.go("/")
        mistype(walker)
        log_in(walker, password)
        walker.check("search")
        number = find_somebody(walker, made / "query.png")
        look_at_the_moment(walker)
        collect(walker, number, tmp_path)
        erase(walker, number)
        compare_pairs(walker)
        merge_and_undo(walker)
        measure(walker)
        look_at_runs(walker)
        for path in ("/", "/sightings", "/people", "/cases", "/library", "/admin", "/admin/audit", "/account"):
            walker.go(path)
        sqlite3.connect(folder / "gallery.sqlite", isolation_level=None).execute("UPDATE sessions SET expires = 0")
        page.goto(f"{address}/sightings?camera=market")
        log_in(walker, password)
        page.wait_for_url("**/sightings?camera=market")
        walker.context.close()


def mistype(walker):
    """Log in with a wrong password: the page says so."""
    walker.type("Name", "admin")
    walker.type("Password", "not the password", "Enter")
    walker.see("do not belong together")
    assert all("401" in fault for fault in walker.faults), walker.faults
    walker.faults.clear()
    walker.check("wrong password")


def log_in(walker, password):
    walker.page.get_by_role("heading", name="Log in").wait_for()
    walker.type("Name", "admin")
    walker.type("Password", password, "Enter")
    walker.page.get_by_role("link", name="Search").wait_for()


def find_somebody(walker, image):
    """Upload an image, say no to a candidate, and open one of the second page; return its number."""
    page = walker.page
    walker.reach(page.locator("#images"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(image)
    page.get_by_alt_text("The image you search with").wait_for()
    walker.check("search with an image")
    height, width = cv2.imread(str(image)).shape[:2]
    walker.type("left, top, right, bottom", f"0,0,{width},{height}")
    walker.reach(page.get_by_label("Camera that took it"))
    page.keyboard.type("entrance")
    assert page.get_by_label("Camera that took it").input_value() == "entrance"
    walker.type("Purpose", "a walk")
    walker.press("button", "Search", exact=True)
    page.get_by_role("heading", name="Candidates").wait_for()
    assert page.get_by_alt_text("The image you searched with").is_visible()
    walker.see("calibrated with")
    walker.check("candidates")
    walker.type("Filter", "camera:entrance before:1999-01-01", "Enter")
    walker.see("No sighting is left with these filters")
    walker.check("no candidates")
    walker.press("link", "Take them away")
    walker.see("similarity")
    framed = "getComputedStyle(document.querySelector('.candidate')).outlineStyle"
    assert page.evaluate(framed) == "solid", "it is seen whom a key would judge"
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
    walker.reach(page.locator("#moment summary"))
    with page.expect_response(lambda one: one.url.endswith("/moment")) as moment:
        page.keyboard.press("Enter")
    assert moment.value.ok
    assert page.locator("#moment img").evaluate(DECODED) > 99
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
    walker.reach(walker.page.get_by_text("Name, collect, hide"))
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
    with page.expect_download() as download:
        walker.press("link", "Download it")
    assert check_receipt(json.loads(download.value.path().read_text()))
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


def look_at_runs(walker):
    """Open a training and the page of an evaluation; the browser finds no fault with their policy."""
    page = walker.page
    walker.press("link", "trained")
    page.get_by_role("heading", name="The training").wait_for()
    assert (
        page.locator("img.plot").evaluate("async (image) => { await image.decode(); return image.naturalWidth }") > 99
    )
    walker.check("run")
    walker.go("/quality/run?name=evaluated")
    walker.press("link", "Open its own page")
    page.get_by_role("heading", name="Scores").wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") != "0px", "it has its style"
    walker.check("page of a run")
    page.go_back()
    walker.see("Open its own page")


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
