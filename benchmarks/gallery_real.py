"""A gallery of real images against `rewho evaluate`: the same order, judgements by an oracle, thresholds carried over.

    python benchmarks/gallery_real.py --data CUHK03-NP/detected --other Market-1501 --cache /tmp/rewho-gallery-real

The first data set's test part is a gallery, and its queries are searched with `Gallery.search`, in the papers'
protocol: images of the query's person from the query's camera do not count. Rank-1 and mAP of what it returns must
equal those of `rewho evaluate` on the same files, without and with camera normalisation, float32 embeddings exactly,
float16 ones to the printed digit. Of the other data set 250 people are held out. Images are embedded once and kept in
the cache; they are never copied out of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file
from rewho.core.shipped import TENSORS, find_model
from rewho.data.datasets import read_settings
from rewho.data.scored_part import ScoredPart, scored_part
from rewho.embedding.embedder import load
from rewho.gallery.adding import Embedded
from rewho.gallery.gallery import Gallery
from rewho.gallery.query import Query
from rewho.gallery.records import NewCrop
from rewho.gallery.scores import scale_of, vectors_of
from rewho.gallery.vectors import Precision, unit
from rewho.rank.camera_norm import normalise_cameras
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.score_norm import Level, normalise
from rewho.rank.scores import Scores
from rewho.rank.thresholds import find_threshold
from rewho.settings import DataSettings, TermsSettings

Floats = NDArray[np.float64]
RATE = 0.001
PATTERN = r"(?P<person>\d+)_c(?P<camera>\d+)"


@dataclass(frozen=True)
class Data:
    """A data set's test part with its embeddings, float32 [Q, D] and [G, D]."""

    name: str
    part: ScoredPart
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]

    @cached_property
    def labels(self) -> tuple[ImageLabels, ImageLabels]:
        """Labels of queries and gallery."""
        part = self.part
        return (
            ImageLabels(part.query.person_ids, part.query.camera_ids, part.query_names),
            ImageLabels(part.gallery.person_ids, part.gallery.camera_ids, part.gallery_names),
        )

    @cached_property
    def left_out(self) -> NDArray[np.bool_]:
        """Whether a gallery image is of the query's person and camera, bool [Q, G]."""
        query, gallery = self.labels
        return (query.person_ids[:, None] == gallery.person_ids) & (query.cameras[:, None] == gallery.cameras)

    @cached_property
    def matches(self) -> NDArray[np.bool_]:
        """Whether a gallery image is of the query's person, on another camera, bool [Q, G]."""
        query, gallery = self.labels
        return (query.person_ids[:, None] == gallery.person_ids) & ~self.left_out

    def ranking(self) -> Ranking:
        """Return the ranking that `rewho evaluate` scores."""
        return Ranking.from_embeddings(self.query, self.labels[0], self.gallery, self.labels[1])


def read_data(root: Path, held_out: int, model: Path, cache: Path) -> Data:
    """Return a data set's test part; its images are embedded as `rewho evaluate` does unless the cache has them."""
    table = read_settings(DataSettings(root=root, hold_out=held_out))
    part = scored_part(table)
    file = cache / f"{table.name}-{hash_file(model / TENSORS)[:16]}.npz"
    if not file.exists():
        loaded, began = load(model, "cpu"), time.perf_counter()
        found = {
            name: loaded.embed([images.file(row) for row in range(len(images))])
            for name, images in (("query", part.query), ("gallery", part.gallery))
        }
        print(f"embedded {part.images:,} images of {table.name} in {time.perf_counter() - began:.0f} s", flush=True)
        np.savez(file, **found)
    with np.load(file) as stored:
        return Data(table.name, part, stored["query"], stored["gallery"])


def make_gallery(data: Data, model: Path, place: Path, precision: Precision, *, embed: bool) -> Gallery:
    """Return a gallery of the test part, with the people's numbers as names; one that is there is opened.

    With `embed` the gallery reads and embeds the images itself, else the embeddings of the cache are written.
    """
    if place.exists():
        return Gallery(place, "cpu")
    terms = dict.fromkeys(TermsSettings.__dataclass_fields__, "benchmark")
    gallery = Gallery.create(place, model, terms=terms, precision=precision, device="cpu")
    images, began = data.part.gallery, time.perf_counter()
    if embed:
        gallery.add([images.file(row) for row in range(len(images))], pattern=PATTERN)
    else:
        writer = gallery.writer(data.name, gallery.model_sha256)
        writer.write([Embedded(new_crop(data, row), data.gallery[row], None) for row in range(len(images))])
    print(f"{place.name}: {len(gallery):,} sightings in {time.perf_counter() - began:.0f} s", flush=True)
    return gallery


def names_of(file: Path) -> dict[str, str]:
    found = re.search(PATTERN, file.name)
    assert found is not None, file
    return found.groupdict()


def new_crop(data: Data, row: int) -> NewCrop:
    file = data.part.gallery.file(row)
    return NewCrop(file.name, sha256=hash_file(file), **names_of(file))


def ask_all(gallery: Gallery, data: Data, rows: NDArray[np.int64], *, images: bool) -> list[Query]:
    """Return some queries: as images with their camera, which the gallery embeds, or with the cache's embeddings."""
    made, cameras = [], {one.name: one.id for one in gallery.cameras()}
    for row in rows.tolist():
        file = data.part.query.file(row)
        camera = names_of(file)["camera"]
        if images:
            made.append(gallery.query(file, camera=camera))
        else:
            vector, where = unit(data.query[row])[None], (cameras[camera],)
            made.append(Query(f"image {file.name}", "images", vector, where, stored=False))
    return made


def search_all(gallery: Gallery, queries: Sequence[Query], *, relative: bool) -> Floats:
    """Return the similarities of all sightings to each query as `Gallery.search` gives them, [Q, G]."""
    found, began = np.full((len(queries), len(gallery)), np.nan), time.perf_counter()
    for number, query in enumerate(queries):
        result = gallery.search(query, count=len(gallery), normalise=relative, refine=False)
        ids = np.array([one.sighting.id for one in result.candidates])
        similarities = np.array([one.similarity for one in result.candidates])
        assert (np.lexsort((ids, -similarities)) == np.arange(len(ids))).all()
        found[number, ids - 1] = similarities
    assert np.isfinite(found).all()
    print(f"    {len(queries):,} searches of {len(gallery):,} results: {time.perf_counter() - began:.0f} s", flush=True)
    return found


def show(what: str, scores: Scores, beside: Scores | None = None) -> None:
    line = f"{what:58} Rank-1 {100 * scores.rank(1):.2f}  mAP {100 * scores.mAP_rectangular:.2f}"
    if beside is not None:
        rank, area = scores.rank(1) - beside.rank(1), scores.mAP_rectangular - beside.mAP_rectangular
        line += f"  differs by {rank:.1e}, {area:.1e}"
    print(line, flush=True)


def open_gallery(data: Data, asked: argparse.Namespace, precision: Precision, *, embed: bool = False) -> Gallery:
    name = f"{data.name}-{hash_file(asked.model / TENSORS)[:16]}-{precision}{'-embedded' * embed}"
    return make_gallery(data, asked.model, asked.cache / name, precision, embed=embed)


def compare_order(data: Data, asked: argparse.Namespace) -> None:
    """Print Rank-1 and mAP of `rewho evaluate` and of `Gallery.search`, and how many orders are the same."""
    plain = data.ranking()
    for relative, ranking in ((False, plain), (True, normalise_cameras(plain))):
        show(f"evaluate, {ranking.description}", evaluate(ranking))
        for precision, embed, step in (("float32", False, asked.step), ("float16", asked.images, asked.exact_step)):
            rows = np.arange(0, len(data.part.query), step)
            wanted = ranking.source.block(rows)
            labels = ImageLabels(data.labels[0].person_ids[rows], data.labels[0].cameras[rows])
            beside = evaluate(Ranking.from_distances(wanted, labels, data.labels[1]))
            with open_gallery(data, asked, precision, embed=embed) as gallery:
                queries = ask_all(gallery, data, rows, images=embed)
                found = search_all(gallery, queries, relative=relative)
                scan = scan_all(gallery, queries, relative=relative)
            scores = evaluate(Ranking.from_distances(1 - found, labels, data.labels[1]))
            show(f"  Gallery.search, {precision}{', images' * embed}, {len(rows):,} queries", scores, beside)
            order, near = np.argsort(-found, axis=1, kind="stable"), np.argsort(wanted, axis=1, kind="stable")
            kept = np.argsort(-scan, axis=1, kind="stable")
            for what, other in (("a float64 scan of what is stored", kept), ("evaluate", near)):
                whole, first = (order == other).all(axis=1), (order[:, :10] == other[:, :10]).all(axis=1)
                print(f"    same order as {what}: all {100 * whole.mean():.1f} %, first ten {100 * first.mean():.1f} %")
            print(
                f"    similarities differ from evaluate's by up to {np.abs(1 - found - wanted).max():.1e}", flush=True
            )


def scan_all(gallery: Gallery, queries: Sequence[Query], *, relative: bool) -> Floats:
    """Return the cosines of queries with all sightings by one product in float64, from the stored embeddings."""
    index, statistics = gallery.index(), gallery.statistics()
    vectors = vectors_of(index, statistics, np.arange(len(index)), centred=relative)
    asked = [query.centred(statistics) if relative else query.plain() for query in queries]
    return np.asarray(np.stack(asked) @ vectors.T, np.float64)


def judge_all(data: Data, asked: argparse.Namespace, count: int) -> None:
    """Print the mAP over the results that nobody judged, before and after an oracle judged the first of each query."""
    place = asked.cache / f"judged-{data.name}-{count}"
    shutil.rmtree(place, ignore_errors=True)
    rows = np.arange(0, len(data.part.query), asked.step)
    before, after = list[float](), list[float]()
    with open_gallery(data, asked, "float16") as gallery:
        shutil.copytree(gallery.folder, place)
    with Gallery(place, "cpu") as gallery:
        for row, query in zip(rows, ask_all(gallery, data, rows, images=False), strict=True):
            first = gallery.search(query, count=len(gallery))
            order = np.array([one.sighting.id - 1 for one in first.candidates])
            order = order[~data.left_out[row, order]]
            judged, rest = order[:count], order[count:]
            if not data.matches[row, rest].any():
                continue
            verdicts = {int(one) + 1: "yes" if data.matches[row, one] else "no" for one in judged}
            gallery.judge(first.search, verdicts)
            second = gallery.search(query, count=len(gallery))
            moved = np.array([one.sighting.id - 1 for one in second.candidates])
            moved = moved[~data.left_out[row, moved] & ~np.isin(moved, judged)]
            assert set(moved) == set(rest)
            before.append(average_precision(data.matches[row, rest]))
            after.append(average_precision(data.matches[row, moved]))
    shutil.rmtree(place)
    low, high = 100 * float(np.mean(before)), 100 * float(np.mean(after))
    print(f"{data.name}: {count} judgements, {len(before):,} queries: mAP of the rest {low:.2f} -> {high:.2f}, "
          f"{high - low:+.2f}, {high / low:.2f} times", flush=True)  # fmt: skip


def average_precision(matches: NDArray[np.bool_]) -> float:
    places = np.flatnonzero(matches)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))


def carry_thresholds(one: Data, other: Data, asked: argparse.Namespace) -> None:
    """Print the false match rate of each data set at the thresholds that the other gives for 1 in 1,000."""
    strangers, calibrated = {}, {}
    for data in (one, other):
        with open_gallery(data, asked, "float16") as gallery:
            made = gallery.calibration() or gallery.calibrate("labels")
            strangers[data.name] = scores_of_strangers(data, gallery, made.content)
            points = {point["rate"]: point for point in made.row(None)["points"]}  # type: ignore[index]
            calibrated[data.name] = float(points[RATE]["threshold"])
    for kind in ("plain", "normalised"):
        for source, target in ((one.name, other.name), (other.name, one.name)):
            limit = find_threshold(strangers[source][kind], RATE)
            if kind == "normalised":
                assert abs(limit - calibrated[source]) < 0.05, (limit, calibrated[source])
                limit = calibrated[source]
            rate = float((strangers[target][kind] >= limit).mean())
            off = max(rate / RATE, RATE / max(rate, 1e-9))
            what = f"threshold of {source}, {kind} ({limit:.3f})"
            print(f"{what}: {rate:.5f} of pairs in {target}, off by {off:.1f} times", flush=True)


def scores_of_strangers(data: Data, gallery: Gallery, content: Mapping[str, Any]) -> dict[str, Floats]:
    """Return the scores of all pairs of sightings of two people: cosines, and as the calibration normalises them."""
    index, statistics, people = gallery.index(), gallery.statistics(), data.labels[1].person_ids
    rows = np.arange(len(index))
    scale = scale_of(index, statistics, content["cohort"], centred=content["centred"])
    first, second = np.triu_indices(len(rows), 1)
    apart = people[first] != people[second]
    first, second = first[apart], second[apart]
    plain = vectors_of(index, statistics, rows, centred=False)
    own = vectors_of(index, statistics, rows, centred=content["centred"])
    level = scale.level(own, index.column("ids")[:, None] == scale.ids)
    normal = normalise(own @ own.T, Level(level.mean[:, None], level.deviation[:, None]), level)
    return {"plain": (plain @ plain.T)[first, second], "normalised": normal[first, second]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("starter"))
    parser.add_argument("--step", type=int, default=7, help="take every n-th query where all would take too long")
    parser.add_argument("--exact_step", type=int, default=1, help="the same for the order, with float16")
    parser.add_argument("--images", action="store_true", help="let the gallery embed everything again by itself")
    parser.add_argument("--parts", nargs="+", default=["order", "judge", "carry"])
    asked = parser.parse_args()
    asked.model = find_model(asked.model)
    asked.cache.mkdir(parents=True, exist_ok=True)
    first, second = (
        read_data(asked.data, 0, asked.model, asked.cache),
        read_data(asked.other, 250, asked.model, asked.cache),
    )
    if "order" in asked.parts:
        compare_order(first, asked)
    if "judge" in asked.parts:
        for data in (first, second):
            for count in (5, 10):
                judge_all(data, asked, count)
    if "carry" in asked.parts:
        carry_thresholds(first, second, asked)


if __name__ == "__main__":
    main()
