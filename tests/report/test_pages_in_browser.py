"""Every kind of page in a browser, at two widths, light and dark: nothing fails, nothing overflows, axe finds nothing.

`PAGES` names the kinds; a new kind of page is one entry: a function from an empty folder to the page's file.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rewho.crops.set_page import build_page as build_crop_page
from rewho.rank.thresholds import Interval, OperatingPoint
from rewho.report.adaptation_page import AdaptationReport, adaptation_page
from rewho.report.attention_sheet import AttentionRow
from rewho.report.content import ChangedQuery, Decision, Gain, Plot, Report, Score, Section, Table
from rewho.report.figures import distance_histogram, heat_map
from rewho.report.folder import write_report
from rewho.report.rank_sheet import SheetCell, SheetRow, encode_jpeg
from rewho.report.search_sheet import FoundCell, FoundRow, search_page
from rewho.report.verdict import MEASURE
from rewho.tables.comparison import OURS, PaperCell, PaperRow, PaperTable
from rewho.tables.comparison import page as build_table_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")
RANDOM = np.random.default_rng(1)


def picture():
    return RANDOM.integers(0, 256, (128, 64, 3)).astype(np.uint8)


def rows(count=2):
    cells = [SheetCell(picture(), kind, 0.1, f"{kind}.jpg") for kind in ("same camera", "hit", "miss", "junk")]
    return [SheetRow(picture(), f"query/000{n}_c1.jpg", str(n), "c1", cells * 2, "AP 50.0 %") for n in range(count)]


def section(model, **given):
    found = Interval(0.7, 0.8)
    points = [OperatingPoint(0.01, 90, "", 0.6, 0.0099, 0.75, found, found, found), OperatingPoint(0.001, 90, "few")]
    cameras = heat_map(RANDOM.random((6, 6)), [*"abcdef"], [*"abcdef"], row_axis="Query", column_axis="Gallery")
    distances = distance_histogram(RANDOM.random(50), RANDOM.random(90))
    wide = Table("Pairs of cameras, as a table", ["camera", *(f"camera {n}" for n in range(12))], [["a", *range(12)]])
    return Section(
        model,
        "a-data-set-with-a-long-name",
        [Score(MEASURE, 0.5, 0.4, 0.6, "Mean."), Score("Rank-1", 0.6, 0.5, 0.7, "First."), Score("Rank-5", 0.9)],
        queries=1234,
        gallery=56789,
        people=90,
        dropped={"their person is not in the gallery": 2},
        cmc={"cosine": np.linspace(0.6, 1, 50), "cosine + k-reciprocal(k1=20, k2=6)": np.linspace(0.7, 1, 50)},
        per_query={"query": ["a"]},
        tables=[wide],
        plots=[Plot("Distances", distances, "Histogram."), Plot("Cameras", cameras, "Map.", "Caption.", wide)],
        sheet=rows(),
        worst=rows(1),
        attention=[AttentionRow(picture(), "query.jpg", {"f": RANDOM.random((8, 4)), "up1": RANDOM.random((8, 4))})],
        notes=["A note."],
        decision=Decision(points, 10, 20, 90, "thresholds are stored in runs/mine/decide.json"),
        **given,
    )


def evaluation(folder: Path) -> Path:
    gain = Gain("first", 90, {MEASURE: (0.1, 0.01, 0.2)})
    changed = [ChangedQuery(rows(1)[0], rows(1)[0], 0.25)]
    sections = [section("first"), section("second/best", gain=gain, changed=changed)]
    settings = {"engine": {"device": "cpu"}, "out": "runs/a-folder-with-a-rather-long-name/report"}
    made = {"command": "rewho evaluate --model first second/best --data a-data-set-with-a-long-name"}
    title = "first and second/best on a data set"
    return write_report(folder, Report(title, sections, {}, made, settings, thresholds=[{"model": "first"}]))


def crop_set(folder: Path) -> Path:
    shares = {"least": 1.0, "5 %": 2.0, "median": 60.0, "most": 200.0}
    measures = dict.fromkeys(("height", "width", "confidence", "quality", "crops_per_video"), shares)
    counts = {"crops": 900, "scenes": 1, "persons": 30, "frames_looked_at": 75, "detections": 99}
    figures = counts | {"kept_by_the_rules": 90, "mean": [0.5] * 3, "std": [0.2] * 3, "cities": {"Bern": 1}}
    figures |= {"dropped_by_rule": {"width_not_above_48": 8, "head_not_visible": 1}, "videos": {"ok": 1}, "reasons": {}}
    lengths = {"crops_per_track": shares, "seconds_per_track": shares}
    figures["tracks"] = {"tracks": 9, "of_several_crops": 5, "crops_without": 3, "frames_too_far_apart": 2} | lengths
    figures |= {"resolutions": {"640 x 360": 1}, "licences": {"CC0-1.0": 1}} | measures
    video = {"path": "streets/street-with-a-long-name.mp4", "sha256": "ab" * 32, "duration": 90.0, "status": "ok"}
    video |= {"reason": "", "looked": 75, "kept": 90, "crops": 900, "persons": 30}
    terms = dict.fromkeys(("name", "source", "licence", "purpose", "legal_basis", "contact", "retention"), "words")
    explained = folder / "explained" / f"{'ab' * 6}-0000012.jpg"
    explained.parent.mkdir()
    explained.write_bytes(encode_jpeg(picture()))
    sheet = encode_jpeg(picture())
    return written(folder, build_crop_page(terms, figures, [video], sheet, [explained.name], track_sheet=sheet))


def table(folder: Path) -> Path:
    scores = {name: Score(name, 0.5, 0.4, 0.6) for name in OURS}
    row = PaperRow("student", 1_000_000, 1.0, dict.fromkeys(("a", "b"), PaperCell(scores, (0.8, 0.6))))
    shown = PaperTable("Table 3", {"a": "Market-1501", "b": "MSMT17"}, [row, row], ["A smoke run."], {"seed": "1"})
    return written(folder, build_table_page(shown))


def adaptation(folder: Path) -> Path:
    epochs = [{"epoch": n, "clusters": 50 + n, "outliers": 0.2, "silhouette": 0.1 * n, "mAP": 0.5} for n in range(4)]
    clusters = [("Cluster 3, 12 images", encode_jpeg(picture()))]
    shown = AdaptationReport("An adaptation", epochs, np.linspace(0, 1, 50), 0.5, 0.55, 0.6, clusters, {"seed": 1})
    return written(folder, adaptation_page(shown))


def search(folder: Path) -> Path:
    cells = [FoundCell(picture(), f"gate/0001-{n}.jpg", 0.9 - n / 10, "", "camera gate") for n in range(10)]
    found = [FoundRow(picture(), "anna.jpg", cells), FoundRow(picture(), "eve.jpg", cells[:1], "A note.")]
    return written(folder, search_page(found, {"model": "starter"}))


def written(folder: Path, text: str) -> Path:
    path = folder / "index.html"
    path.write_text(text, encoding="utf-8")
    return path


PAGES = {"evaluation": evaluation, "crop set": crop_set, "table": table, "adaptation": adaptation, "search": search}


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no browser: install Debian's package chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def open_page(browser, path: Path):
    """Return an open page, and a list that gets its errors and failed requests."""
    page, found = browser.new_page(), []
    page.on("console", lambda message: message.type in ("error", "warning") and found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("requestfailed", lambda request: found.append(f"failed: {request.url[:80]}"))
    page.goto(path.as_uri())
    links = page.evaluate("[...document.links].map(link => link.href)")
    files = [link.removeprefix("file://") for link in links if "#" not in link]
    found += [f"no file {file}" for file in files if not Path(file).exists()]
    return page, found


def problems_of(page, width: int, scheme: str) -> list[str]:
    """Return whether a page is wider than a window, and what axe finds in it."""
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    violations = Axe().run(page).response["violations"]
    found = [f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:120]}" for one in violations]
    return found + [f"{wider} pixels wider than the window"] * (wider > 0)


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_legible_and_operable(browser, kind, tmp_path):
    page, failed = open_page(browser, PAGES[kind](tmp_path))
    problems = {(width, scheme): problems_of(page, width, scheme) for width in WIDTHS for scheme in SCHEMES}
    page.close()
    assert failed == []
    assert problems == {place: [] for place in problems}


def test_axe_and_the_listeners_find_what_is_wrong(browser, tmp_path):
    wrong = '<p style="color:#ccc;background:#fff">pale</p><img src="none.png"><p style="width:3000px">wide</p>'
    path = written(tmp_path, f"<!DOCTYPE html><html lang=en><title>t</title><main><h1>t</h1>{wrong}</main></html>")
    page, failed = open_page(browser, path)
    problems = "\n".join([*failed, *problems_of(page, 390, "light")])
    for expected in ("color-contrast", "image-alt", "failed: file", "wider than the window"):
        assert expected in problems
