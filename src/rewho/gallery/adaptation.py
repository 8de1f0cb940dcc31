"""A gallery as images to adapt its model to, and the choice between the new model and the one it has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewho.core.artifact import write_json
from rewho.core.check import UserError, is_file
from rewho.core.files import read_json
from rewho.core.progress import Progress, say
from rewho.embedding.embedder import load
from rewho.gallery.database import FILE
from rewho.gallery.gallery import Gallery
from rewho.gallery.grouping import AVERAGED, neighbours_of
from rewho.gallery.lineage import CHECKPOINTS, gone_from
from rewho.gallery.material import Material, Order, measure_order
from rewho.gallery.model import MODEL, NAME, hash_model
from rewho.gallery.switch import check_thumbnails
from rewho.models.weights import TENSORS
from rewho.rank.grouping import LIMIT
from rewho.settings import AdaptSettings
from rewho.tasks.target import Target
from rewho.tasks.unlabelled import EncodedImages, JoinedImages

JUDGED = "judged.json"
"""How both models order the judgements that were held out."""


def open_gallery(settings: AdaptSettings) -> tuple[AdaptSettings, Material | None]:
    """Return what a gallery gives to learn from, and the settings for it; no material for other data.

    Where nothing else is asked for, it begins with the gallery's model, and clusters as `rewho gallery group` does. If
    that model was adapted to somebody who was forgotten since, it begins with the gallery's first one.
    """
    root = settings.data.root.expanduser()
    if not is_file(root / FILE):
        return settings, None
    with Gallery(root, "cpu") as gallery:
        check_thumbnails(gallery.database)
        material = gallery.material(settings.seed, folder=str(settings.out.absolute()))
        name = gallery.database.read(NAME, MODEL)
        if gone := gone_from(gallery.database, material.model):
            name = MODEL
            left = f"adapted to {len(gone):,} sightings that are gone"
            say(f"note: the gallery's model was {left}; beginning with its first one")
    usual = AdaptSettings()
    k1 = neighbours_of(len(material.images))
    grouped: dict[str, Any] = {"k1": k1, "k2": min(AVERAGED, k1), "eps": LIMIT, "self_paced": False}
    asked = {name for name in grouped if getattr(settings.cluster, name) != getattr(usual.cluster, name)}
    own = {name: value for name, value in grouped.items() if name not in asked}
    settings = replace(settings, cluster=replace(settings.cluster, **own))
    if settings.model.pretrained == usual.model.pretrained:
        settings = replace(settings, model=replace(settings.model, pretrained=str(root / name)), begin="network")
    return settings, material


def is_used(settings: AdaptSettings, material: Material) -> bool:
    """Return whether the gallery's model is the one that this run made."""
    file = settings.out / JUDGED
    return file.is_file() and read_json(file).get("model") == material.model and (settings.out / TENSORS).is_file()


def target_of(settings: AdaptSettings, material: Material) -> Target:
    """Return a gallery's thumbnails as images to adapt to; they are in memory only, and in no file of the run."""
    names = [f"crop {crop} of {settings.data.root}" for crop in material.crops.tolist()]
    name, count = settings.data.root.resolve().name, len(material.images)
    about = {"name": name, "kind": "gallery", "images": count, "sha256": material.sha256, "judgements_used": True}
    images = JoinedImages((EncodedImages(names, material.images),), material.sha256, about=(about,))
    return Target(images, material.cameras, None, None, name, material.sha256, about, material.known)


def keep_if_better(settings: AdaptSettings, material: Material, files: Sequence[Path]) -> list[Path]:
    """Keep the new model only if it orders held-out judgements better than the gallery's; return the files that stay.

    The gallery gets a model that is kept; a process that is killed before leaves it as it was.
    """
    root = settings.data.root.expanduser()
    with Gallery(root, "cpu") as gallery:
        present = root / gallery.database.read(NAME, MODEL)
        before = measure_order(material, load(present, settings.engine.device).embed)
    try:
        after = measure_order(material, load(settings.out, settings.engine.device).embed)
    except UserError as error:  # weights that are no numbers any more
        say(f"the training diverged: {error.got}")
        after = Order(0.0, 0.0)
    refused, everyone = (
        f"{100 * new:.2f} % ({100 * old:.2f} % before)" for new, old in zip(after, before, strict=True)
    )
    say(
        f"held out: {len(material.same):,} pairs of one person and {len(material.different):,} of two; the first are "
        f"more alike than the second in {refused} of the comparisons, than with everyone else in {everyone}"
    )
    kept = after.is_better_than(before)
    counts = {"same": len(material.same), "different": len(material.different), "kept": kept}
    figures: dict[str, Any] = {**counts, "before": before._asdict(), "after": after._asdict()}
    if kept:
        figures |= {"model": hash_model(settings.out)}
    written = write_json(settings.out / JUDGED, figures)
    if kept:
        try:
            _hand_over(settings, material)
        except UserError:  # such as somebody who was forgotten meanwhile
            for file in (*files, written):
                file.unlink()
            raise
        return [*files, written]
    say("not better, so the gallery's model stays, and no new one is written")
    for file in files:
        file.unlink()
    return [written]


def _hand_over(settings: AdaptSettings, material: Material) -> None:
    """Give the gallery the new model."""
    progress = Progress("embed again", len(material.images), unit="crops")
    with Gallery(settings.data.root.expanduser(), settings.engine.device) as gallery:
        ids = sorted(set(material.sightings.tolist()))
        done = gallery.use_model(settings.out, adapted_to=ids, progress=progress.advance)
    progress.close()
    say(
        f"better: the gallery uses it now; {done.crops:,} crops of {done.sightings:,} sightings were embedded again. "
        f"Thresholds hold no more: `rewho gallery calibrate {settings.data.root}`"
    )


def clean_up(settings: AdaptSettings) -> None:
    """Remove checkpoints, whose memory holds a vector of every crop, which only the gallery can forget."""
    shutil.rmtree(settings.out / CHECKPOINTS, ignore_errors=True)
