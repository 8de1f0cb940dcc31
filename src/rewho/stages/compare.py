"""Compare the people in two or more images, and tell which pairs reach a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rewho.core.check import is_dir
from rewho.core.progress import say
from rewho.core.runtime import run_in_processes
from rewho.data.file_lists import refuse_output
from rewho.embedding.decision import StoredThreshold, read_threshold
from rewho.embedding.exported import ExportedModel, load_model
from rewho.embedding.scoring import similarities
from rewho.settings import CompareSettings
from rewho.settings.fields import check
from rewho.settings.use import parse_threshold

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

REACHED, MISSED = "candidate: the same person", "candidate: different people"


@run_in_processes
def run(settings: CompareSettings) -> str:
    """Return the cosine similarity of two images, -1 to 1, or for more images the table of all pairs.

    With a threshold, also which pairs are candidates for the same person, and what the threshold was measured on.
    """
    check(settings)
    for image in settings.images:
        if is_dir(image):
            refuse_output(image)
    model = load_model(settings.model, settings.engine.device, settings.engine.threads, settings.runtime)
    threshold, origin = _threshold(model, settings)
    alike = similarities(model.embed(list(settings.images), flip=settings.flip))
    if threshold is None:
        return f"{alike[0, 1]:.4f}" if len(settings.images) == 2 else _table(settings, alike)
    if len(settings.images) == 2:
        verdict = REACHED if alike[0, 1] >= threshold else MISSED
        return f"{alike[0, 1]:.4f}  {verdict}\n{origin}"
    pairs = [
        f"{settings.images[one].name} and {settings.images[other].name}: {alike[one, other]:.4f}"
        for one, other in combinations(range(len(settings.images)), 2)
        if alike[one, other] >= threshold
    ]
    found = "\n  ".join([f"{len(pairs)} of the pairs {REACHED}", *pairs])
    return f"{_table(settings, alike)}\n{found}\n{origin}"


def _table(settings: CompareSettings, alike: NDArray[Any]) -> str:
    width = max(len(image.name) for image in settings.images)
    return "\n".join(
        f"{image.name:{width}}  " + "  ".join(f"{value:7.4f}" for value in row)
        for image, row in zip(settings.images, alike, strict=True)
    )


def _threshold(model: Embedder | ExportedModel, settings: CompareSettings) -> tuple[float | None, str]:
    """Return the threshold, if there is one, and a line on where it comes from."""
    given = parse_threshold(settings.threshold) if settings.threshold else None
    if given is None:
        return None, ""
    if given.rate is None:
        return given.value, f"threshold {given.value:.4f}, as given"
    stored = read_threshold(model, given.rate, given.data, flip=settings.flip)
    for warning in stored.warnings:
        say(f"warning: the threshold was measured with a model that {warning}")
    if stored.others:
        say(f"note: this model also has thresholds measured on {_listed(stored.others)}; ask for --threshold RATE@DATA")
    return stored.threshold, _origin(stored)


def _origin(stored: StoredThreshold) -> str:
    found, low, high = (f"{100 * share:.1f}" for share in stored.found)
    return (
        f"threshold {stored.threshold:.4f}, measured on {stored.data} ({stored.people:,} people, {stored.date}): "
        f"{100 * stored.rate:g} % of the pairs of different people reach it, and {found} % [{low} – {high}] of the "
        "pairs of one person; other places and cameras differ"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
