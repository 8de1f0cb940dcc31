"""Rendered streets end to end: videos, crops with tracks, gallery, proposed people, against the ground truth.

    python benchmarks/gallery_streets.py --seeds 21 22

Each seed is the demo's four cameras, with other streets and people than the demo's. The gallery gets nothing of the
ground truth but boxes. Printed are the purity of the tracks (crops of their most frequent person), that of the groups
(sightings of their most frequent person), how many pairs of one person's sightings are together, and how many groups
hold two sightings of one frame. Each wrong group is described.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from rewho.gallery.gallery import Gallery
from rewho.gallery.judgements import frame_pairs
from rewho.settings import TermsSettings
from rewho.stages import crop
from rewho.stages.demo_gallery import PLACES, _cut_out, _read_truth, _render, _who


def label(gallery: Gallery, streets: Path) -> dict[int, Counter[int | None]]:
    """Return of each sighting how many of its crops show whom, by the ground truth."""
    truth = {place: _read_truth(streets / f"{place}.gt.txt") for place in PLACES}
    found = {}
    for one in gallery.browse(10_000):
        views = gallery.crops(one.id)
        boxes = [(truth[str(one.camera)].get(int(view.number or 0) + 1, {}), np.array(view.box)) for view in views]
        found[one.id] = Counter(_who(there, box) for there, box in boxes)
    return found


def run(place: Path, model: str, seed: int, limit: float) -> None:
    terms = TermsSettings(
        **dict.fromkeys(("name", "source", "licence", "purpose", "legal_basis", "contact", "retention"), "x")
    )
    streets = _render(place / f"streets-{seed}", seed)
    crops = crop.run(_cut_out(streets, place / f"crops-{seed}", terms))
    with Gallery.create(place / f"gallery-{seed}", model, terms=vars(terms) | {"file": ""}) as gallery:
        gallery.add(crops, videos=streets / "cameras.csv")
        shown, done = label(gallery, streets), gallery.group(limit=limit)
        people = dict(gallery.database.rows("SELECT id, person FROM sightings"))
        frames = frame_pairs(gallery.database)
        cameras = {one.id: one.camera for one in gallery.browse(10_000)}
    tracks = sum(max(one.values()) for one in shown.values()) / sum(map(Counter.total, shown.values()))
    whom = {one: counts.most_common(1)[0][0] for one, counts in shown.items()}
    groups: dict[int, list[int]] = {}
    for one, person in people.items():
        if person is not None:
            groups.setdefault(person, []).append(one)
    pure = sum(max(Counter(whom[one] for one in some).values()) for some in groups.values())
    both = sum(one in people and people[one] is not None and people[one] == people[other] for one, other in frames)
    pairs = [(one, other) for one in whom for other in whom if one < other and whom[one] == whom[other] is not None]
    together = sum(people[one] is not None and people[one] == people[other] for one, other in pairs)
    inside = sum(map(len, groups.values()))
    print(
        f"seed {seed}: {len(whom):,} sightings of {len(set(whom.values()) - {None}):,} people, tracks' purity "
        f"{tracks:.3f}; {len(groups):,} groups of {inside:,} sightings, {done.alone:,} alone; purity "
        f"{pure / max(inside, 1):.3f}; {together:,} of {len(pairs):,} pairs of one person together; "
        f"{both} of {len(frames):,} pairs in one frame are one person", flush=True,
    )  # fmt: skip
    for person, some in groups.items():
        if len({whom[one] for one in some}) > 1:
            said = ", ".join(f"{one} ({cameras[one]}, person {whom[one]}, {shown[one].total()} crops)" for one in some)
            print(f"  wrong: group {person}: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22])
    parser.add_argument("--model", default="starter")
    parser.add_argument("--limit", type=float, default=0.4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rewho-streets-") as place:
        for seed in asked.seeds:
            run(Path(place), asked.model, seed, asked.limit)


if __name__ == "__main__":
    main()
