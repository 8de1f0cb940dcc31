"""Embeddings of a data set → its ranking. Imports torch only for models that need it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rewho.core.check import UserError, check_count, check_embeddings, check_flag
from rewho.core.progress import say
from rewho.core.shipped import STARTER
from rewho.data.datasets import read_settings
from rewho.data.file_lists import list_images
from rewho.data.scored_part import scored_part
from rewho.data.table import ImageTable
from rewho.embedding.exported import ExportedModel, load_model
from rewho.embedding.images import Image, as_list
from rewho.rank.distance import unit_vectors
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.scores import Scores
from rewho.settings import DataSettings

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder


def rank_table(
    model: Embedder | ExportedModel,
    table: ImageTable,
    *,
    flip: bool = True,
    batch: int = 64,
    done: Callable[[int], None] = lambda count: None,
) -> Ranking:
    """Embed a table's queries and gallery and rank them."""
    part = scored_part(table)

    def embed(images: ImageTable) -> NDArray[np.float32]:
        return model.embed(
            [images.file(row) for row in range(len(images))], flip=flip, batch=batch, done=done, of=part.images
        )

    gallery = embed(part.gallery)
    query = embed(part.query) if part.query_rows is None else gallery[part.query_rows]
    labels = [
        ImageLabels(images.person_ids, images.camera_ids, names)
        for images, names in ((part.query, part.query_names), (part.gallery, part.gallery_names))
    ]
    return Ranking.from_embeddings(query, labels[0], gallery, labels[1])


class Found(NamedTuple):
    """An image that a search found, and the cosine of the two embeddings, -1 to 1."""

    path: Path
    similarity: float


def _embedder(model: Embedder | ExportedModel | str | Path) -> Embedder | ExportedModel:
    if not isinstance(model, str | Path) and hasattr(model, "embed"):
        return model
    return load_model(cast("Path", model))  # which refuses anything else


def _one(image: Image) -> list[Image]:
    """Return one image as a list; raise a UserError for several."""
    images = as_list(image)
    if len(images) != 1:
        raise UserError("image", expected="one", got=f"{len(images)}", fix="Pass one image.")
    return images


def evaluate_model(
    model: Embedder | ExportedModel | str | Path, data: ImageTable | str | Path, *, flip: bool = True
) -> Scores:
    """Score a model on a data set: CMC, mAP in both conventions, mINP, intervals.

    Args:
        model: A loaded model, its folder, or the name of one that comes with rewho.
        data: A data set's folder or CSV file, or a table that was read before.
        flip: Average the embeddings of an image and its mirror image.

    Raises:
        UserError: No model there, or the data set cannot be read or has no query with a match.
    """
    if not isinstance(data, ImageTable | str | Path) or not str(data):
        fix = "Pass a path, or what rewho.data.datasets.read_settings returns."
        raise UserError("data", expected="a data set's folder, CSV file or table", got=repr(data), fix=fix)
    check_flag("flip", flip)
    table = data if isinstance(data, ImageTable) else read_settings(DataSettings(root=Path(data)))
    for note in scored_part(table).notes:
        say(f"note: {note}")
    return evaluate(rank_table(_embedder(model), table, flip=flip))


def compare(first: Image, second: Image, model: Embedder | ExportedModel | str | Path = STARTER) -> float:
    """Return how alike the people in two images look: the cosine of their embeddings, -1 to 1.

    Args:
        first: A file, or a uint8 RGB array [H, W, 3].
        second: Another.
        model: A loaded model, its folder, or the name of one that comes with rewho.

    Raises:
        UserError: No model there, or an image cannot be read.
    """
    return float(similarities(_embedder(model).embed([*_one(first), *_one(second)]))[0, 1])


def similarities(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine between every two of N embeddings, float32 [N, N]."""
    unit = unit_vectors(check_embeddings("image", embeddings))
    alike: NDArray[np.float32] = np.clip(unit @ unit.T, -1, 1).astype(np.float32)  # rounding may exceed 1
    return alike


def search(
    image: Image, folder: str | Path, model: Embedder | ExportedModel | str | Path = STARTER, *, count: int = 10
) -> list[Found]:
    """Find the images of a folder that look most like the person in an image.

    Args:
        image: The person to search for.
        folder: Searched with its sub-folders; an image in it finds itself first.
        model: A loaded model, its folder, or the name of one that comes with rewho.
        count: How many to return, the most alike first.

    Raises:
        UserError: No model or no images there, or one of them cannot be read.
    """
    count = check_count("count", count)
    if not isinstance(folder, str | Path) or not str(folder):
        raise UserError("folder", expected="a folder of images", got=repr(folder), fix="Pass its path.")
    files = [Path(folder, name) for name in list_images(folder)]
    embeddings = _embedder(model).embed([*_one(image), *files])
    alike = similarities(embeddings)[0, 1:]
    return [Found(files[row], float(alike[row])) for row in np.argsort(-alike, kind="stable")[:count]]
