"""A gallery of 100,000 sightings in a browser: every screen works, and a search is on the screen's way in 300 ms."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra gallery is not installed")
pytest.importorskip("argon2", reason="the extra gallery is not installed")

from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from running_service import serving
from small_gallery import TERMS, crops_of, make_model
from small_service import picture
from walker import WIDTHS, Walker, open_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
COUNT, SIZE, BATCH = 100_000, 512, 5_000
CAMERAS = tuple(f"camera {number}" for number in range(10))
ROUNDS, SEARCHES = 3, 30
MOST_MS = 300
SCREENS = (
    "/", "/sightings", "/people", "/cases", "/library", "/quality", "/admin", "/admin/audit", "/sightings/99999",
    "/review",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery of random embeddings, each with a thumbnail."""
    top, random = tmp_path_factory.mktemp("large"), np.random.default_rng(1)
    images = [picture(seed, 48, 24) for seed in range(50)]
    with Gallery.create(top / "gallery", make_model(top / "model", size=SIZE), terms=TERMS, device="cpu") as gallery:
        writer = gallery.writer("random", gallery.model_sha256)
        for first in range(0, COUNT, BATCH):
            vectors = random.standard_normal((BATCH, SIZE)).astype(np.float32)
            items = zip(crops_of(BATCH, CAMERAS, first), vectors, strict=True)
            writer.write([Embedded(crop, vector, images[at % 50]) for at, (crop, vector) in enumerate(items)])
    return top / "gallery"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_search_among_a_hundred_thousand_is_quick_and_every_screen_works(folder, width):
    with open_browser() as browser, serving(folder) as service:
        walker = Walker(browser, service.address, width)
        page = walker.page
        page.set_default_timeout(300_000)
        rounds = [
            [search(walker, 1 + 997 * (at + 31 * turn) % COUNT) for at in range(SEARCHES)] for turn in range(ROUNDS)
        ]
        walker.check("candidates of 100,000")
        for path in SCREENS:
            walker.go(path)
        memory = service.memory("VmHWM")
        walker.context.close()
    slowest = [float(np.percentile(one, 95)) for one in rounds]
    print(f"{width} px: p95 of {SEARCHES} searches, ms: {', '.join(f'{one:.0f}' for one in slowest)}; {memory:.0f} MB")
    assert min(slowest) <= MOST_MS, slowest


def search(walker, number):
    """Search with a sighting by keyboard; return the milliseconds from the key to the last byte of the page."""
    page = walker.page
    page.goto(f"{walker.address}/sightings/{number}")
    walker.press("button", "Find this person")
    page.get_by_role("heading", name="Candidates").wait_for()
    return page.evaluate("performance.getEntriesByType('navigation')[0].responseEnd")
