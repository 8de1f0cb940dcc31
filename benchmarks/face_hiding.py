"""What hiding faces costs a trained model: mean average precision with faces hidden against not hidden.

One run measures, on the same queries and gallery,

* plain: the images as they are;
* hidden: faces hidden by our own code in queries and gallery, with keypoints that a pose model finds in each image;
* band: the same without keypoints, when the upper quarter is hidden over its full width.

The model has been trained on plain images. Costs come with a 95 % interval over people. With
`--people` only some people of the test part are taken, drawn at random; scores are then higher than on the whole,
because the gallery is smaller, so compare them within the run only.

Run: python benchmarks/face_hiding.py --model FOLDER --data FOLDER --pose ONNX [--people 200]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewho.core.progress import Progress
from rewho.core.runtime import generator
from rewho.crops.faces import hide_face, locate_head
from rewho.data.datasets import read_settings
from rewho.data.images import decode
from rewho.data.table import ImageTable
from rewho.embedding.embedder import Embedder, load
from rewho.rank.interval import gain_interval
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Scores
from rewho.settings import DataSettings, PoseSettings
from rewho.video.onnx_pose import OnnxPose
from rewho.video.people import Frame, Person

Image = NDArray[np.uint8]
BATCH = 64
ALLOWED = 1.5  # points of mean average precision


def some_people(table: ImageTable, count: int) -> tuple[ImageTable, ImageTable]:
    """Return the queries and the gallery of so many people, or of all."""
    query, gallery = table.select("query"), table.select("gallery")
    if not count:
        return query, gallery
    people = np.unique(query.person_ids)
    chosen = generator(1, "people of the face benchmark").permutation(people)[:count]
    return query.rows(np.isin(query.person_ids, chosen)), gallery.rows(np.isin(gallery.person_ids, chosen))


def keypoints(images: Sequence[Image], pose: OnnxPose) -> list[NDArray[np.float32] | None]:
    """Return the keypoints of the person that each image shows."""
    frames = [Frame(0, 0.0, one) for one in images]
    people = [[Person((0, 0, float(one.shape[1]), float(one.shape[0])), 1.0, None, 0)] for one in images]
    return [found[0].keypoints for found in pose.add_keypoints(frames, people)]


class Versions:
    """Each image as it is, with its face hidden by keypoints, and with its upper band hidden.

    Args:
        model: Embeds the versions.
        pose: Finds keypoints.
    """

    def __init__(self, model: Embedder, pose: OnnxPose) -> None:
        self._model, self._pose = model, pose
        self.by_points = self.images = 0

    def embed(self, table: ImageTable, advance: Callable[[int], None]) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings [N, D] of each version of a table's images."""
        parts: dict[str, list[NDArray[np.float32]]] = {"plain": [], "hidden": [], "band": []}
        for start in range(0, len(table), BATCH):
            images = [decode(table.file(row)) for row in range(start, min(start + BATCH, len(table)))]
            for name, version in self._versions(images):
                parts[name].append(self._model.embed(version))
            advance(len(images))
        return {name: np.concatenate(part) for name, part in parts.items()}

    def _versions(self, images: list[Image]) -> Iterator[tuple[str, list[Image]]]:
        points = keypoints(images, self._pose)
        heads = [locate_head(known, one.shape[:2]) for known, one in zip(points, images, strict=True)]
        self.by_points += sum(head is not None for head in heads)
        self.images += len(images)
        yield "plain", images
        yield "hidden", [hide_face(one, known) for one, known in zip(images, points, strict=True)]
        yield "band", [hide_face(one) for one in images]


def main() -> None:
    """Read the command line and print scores and costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "data", "pose"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--people", type=int, default=0, help="people of the test part; 0 takes all")
    given = parser.parse_args()
    query, gallery = some_people(read_settings(DataSettings(root=given.data)), given.people)
    versions = Versions(load(given.model, threads=1), OnnxPose(PoseSettings(weights=given.pose, threads=1)))
    progress = Progress("faces", len(query) + len(gallery), unit="images")
    of_query = versions.embed(query, progress.advance)
    of_gallery = versions.embed(gallery, progress.advance)
    progress.close()
    scores: dict[str, Scores] = {}
    query_labels, gallery_labels = (ImageLabels(part.person_ids, part.camera_ids) for part in (query, gallery))
    for name, embeddings in of_query.items():
        ranking = Ranking.from_embeddings(embeddings, query_labels, of_gallery[name], gallery_labels)
        scores[name] = evaluate(ranking)
    people = len(np.unique(query.person_ids))
    print(f"{people} people, {len(query)} queries, {len(gallery)} images in the gallery")
    print(f"keypoints show a head in {versions.by_points} of {versions.images} images")
    before, people = scores["plain"].per_query.ap_rectangular, scores["plain"].per_query.person_ids
    for name, found in scores.items():
        told = f"{name:7} mAP {100 * found.mAP_rectangular:.2f} (rectangular), rank-1 {100 * found.rank(1):.2f}"
        if name != "plain":
            gain, low, high = (100 * value for value in gain_interval(before, found.per_query.ap_rectangular, people))
            told += f"; cost {-gain:.2f} points of mAP ({-high:.2f} to {-low:.2f})"
        print(told)
    print(f"a cost of at most {ALLOWED} points is wanted")


if __name__ == "__main__":
    main()
