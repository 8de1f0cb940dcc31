"""The end of the demo: a gallery of rendered people who walk past four cameras, to be searched in a browser.

The gallery knows what a real one would: frames, boxes, tracks, cameras and times. Who is who is known to the check
alone, which says how often a search finds somebody on another camera; boxes replace those of a detector.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import write_file
from rewho.core.check import install
from rewho.core.progress import Progress, say
from rewho.crops.terms import TERMS
from rewho.gallery.gallery import Gallery
from rewho.gallery.records import Actor, Filters
from rewho.rendered import write_street
from rewho.settings import (
    CropSettings,
    DetectorSettings,
    PoseSettings,
    RuleSettings,
    SamplingSettings,
    ScreenSettings,
    TermsSettings,
    TrackingSettings,
)
from rewho.stages import crop

PLACES = ("entrance", "square", "market", "station")
BEGAN, APART = datetime(2026, 5, 4, 13, 0), timedelta(minutes=6)  # the first street; each later one by so much
SECONDS, FRAMES_PER_SECOND, WALKERS, FRAME = 100.0, 2.0, 24, (360, 640)
PEOPLE_SEED = 500_000
"""Added to the demo's seed: nobody of its training is among them."""
NEEDED = {"av": "video", "pyarrow": "video", "argon2": "gallery", "fastapi": "gallery"}
SEE_AT_LEAST = 0.5  # overlap of a box with that of the ground truth, which says who it is
DEMO = Actor("demo", "the demo")


class Hits(NamedTuple):
    """How many sightings' people were seen elsewhere; how many are found there first, and among the first five."""

    asked: int
    first: int
    five: int


def build_gallery(out: Path, model: Path, terms: TermsSettings, seed: int) -> None:
    """Fill `out/gallery` with people on four streets, and say how to look at it; what is there stays.

    Args:
        out: Folder of the demo.
        model: Folder of its model.
        terms: Of the streets.
        seed: Of streets and people.
    """
    missing = sorted({extra for name, extra in NEEDED.items() if importlib.util.find_spec(name) is None})
    if missing:
        say(f"note: for a gallery to search in a browser, {install(*missing)}, and run the demo again")
        return
    folder = out / "gallery"
    streets = _render(out / "gallery-videos" / f"seed-{seed}", seed)
    crops = crop.run(_cut_out(streets, out / "gallery-crops", terms))
    given = {name: str(getattr(terms, name)) for name in TERMS}
    with Gallery(folder) if folder.is_dir() else Gallery.create(folder, model, terms=given, by=DEMO) as gallery:
        gallery.add(crops, videos=streets / "cameras.csv", by=DEMO)  # nothing is added twice
        if gallery.calibration() is None:
            gallery.group(by=DEMO)
            gallery.calibrate("tracks", by=DEMO)
            hits = check_gallery(gallery, streets)
            first, five = (f"{found / max(hits.asked, 1):.0%}" for found in hits[1:])
            say(
                f"{folder}: {len(gallery):,} sightings on {len(PLACES)} cameras; of {hits.asked:,} people sought on "
                f"another camera {first} come first, {five} among the first five"
            )
    say(f"find people on four cameras in your browser: rewho serve {folder}")


def _render(folder: Path, seed: int) -> Path:
    """Render the streets that are missing, and write which camera is where."""
    progress = Progress("render four cameras", len(PLACES), unit="videos")
    lines = ["video,camera,start"]
    for number, place in enumerate(PLACES):
        path = folder / f"{place}.mp4"
        if not path.exists():
            write_street(
                path, SECONDS, FRAMES_PER_SECOND, WALKERS, FRAME, seed=1000 * seed + 101 + number,
                people_seed=PEOPLE_SEED + seed,
            )  # fmt: skip
        lines.append(f"{path.name},{place},{(BEGAN + number * APART).isoformat()}")
        progress.advance(1)
    progress.close()
    write_file(folder / "cameras.csv", lambda file: file.write("\n".join([*lines, ""]).encode()))
    return folder


def _cut_out(streets: Path, out: Path, terms: TermsSettings) -> CropSettings:
    """Return settings that cut out whom a detector would find, with tracks."""
    return CropSettings(
        videos=(streets,),
        out=out,
        terms=terms,
        sampling=SamplingSettings(every=1),
        screen=ScreenSettings(min_frames=10),
        detector=DetectorSettings(kind="replay"),
        pose=PoseSettings(kind="detector"),
        rules=RuleSettings(min_width=24, min_confidence=0.6, side_gap=2),
        tracking=TrackingSettings(kind="motion"),
        workers=0,  # the videos are our own
    )


def check_gallery(gallery: Gallery, streets: Path) -> Hits:
    """Return how often the most alike sighting of another camera shows the same person, by the ground truth."""
    truth = {place: _read_truth(streets / f"{place}.gt.txt") for place in PLACES}
    shown = gallery.browse(10_000, by=DEMO)
    people: dict[int, int | None] = {}
    for one in shown:
        crop_ = next(view for view in gallery.crops(one.id, by=DEMO) if view.id == one.best)
        assert one.camera is not None and crop_.box is not None and crop_.number is not None
        people[one.id] = _who(truth[one.camera].get(crop_.number + 1, {}), np.array(crop_.box))
    asked = first = five = 0
    for one in shown:
        elsewhere = tuple(place for place in PLACES if place != one.camera)
        there = {people[other.id] for other in shown if other.camera != one.camera}
        if people[one.id] is None or people[one.id] not in there:
            continue
        found = gallery.search(sightings=[one.id], count=5, filters=Filters(cameras=elsewhere), by=DEMO)
        right = [people[row.sighting.id] == people[one.id] for row in found.candidates]
        asked, first, five = asked + 1, first + right[0], five + any(right)
    return Hits(asked, first, five)


def _read_truth(file: Path) -> dict[int, dict[int, NDArray[np.float64]]]:
    """Return the boxes of people by frame and person."""
    found: dict[int, dict[int, NDArray[np.float64]]] = {}
    for line in file.read_text().splitlines():
        frame, person, left, top, width, height = (float(cell) for cell in line.split(",")[:6])
        box = np.array([left, top, left + width, top + height])
        found.setdefault(int(frame), {})[int(person)] = box
    return found


def _who(boxes: Mapping[int, NDArray[np.float64]], box: NDArray[np.float64]) -> int | None:
    """Return the person whose box overlaps most with a box, or None."""
    best: tuple[float, int | None] = (SEE_AT_LEAST, None)
    for person, other in boxes.items():
        size = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0).prod()
        both = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - size
        best = max(best, (float(size / both), person), key=lambda pair: pair[0])
    return best[1]
