"""A gallery as images to adapt its model to, and the choice between the new model and the one it has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewho.core.artifact import write_json
from rewho.core.check import UserError, is_file
from rewho.core.progress import say
from rewho.embedding.embedder import load
from rewho.gallery.database import FILE
from rewho.gallery.gallery import Gallery
from rewho.gallery.grouping import AVERAGED, NEIGHBOURS
from rewho.gallery.material import Material, Order, measure_order
from rewho.gallery.model import MODEL
from rewho.rank.grouping import LIMIT
from rewho.settings import AdaptSettings
from rewho.tasks.target import Target
from rewho.tasks.unlabelled import EncodedImages, JoinedImages

JUDGED = "judged.json"
"""How both models order the judgements that were held out."""


def open_gallery(settings: AdaptSettings) -> tuple[AdaptSettings, Material | None]:
    """Return what a gallery gives to learn from, and the settings for it; no material for other data.

    Where nothing else is asked for, it begins with the gallery's model, and clusters as `rewho gallery group` does.
    """
    root = settings.data.root.expanduser()
    if not is_file(root / FILE):
        return settings, None
    with Gallery(root, "cpu") as gallery:
        material = gallery.material(settings.seed)
    usual = AdaptSettings()
    grouped: dict[str, Any] = {"k1": NEIGHBOURS, "k2": AVERAGED, "eps": LIMIT, "self_paced": False}
    asked = {name for name in grouped if getattr(settings.cluster, name) != getattr(usual.cluster, name)}
    own = {name: value for name, value in grouped.items() if name not in asked}
    settings = replace(settings, cluster=replace(settings.cluster, **own))
    if settings.model.pretrained == usual.model.pretrained:
        settings = replace(settings, model=replace(settings.model, pretrained=str(root / MODEL)), begin="network")
    return settings, material


def target_of(settings: AdaptSettings, material: Material) -> Target:
    """Return a gallery's thumbnails as images to adapt to; they are in memory only, and in no file of the run."""
    names = [f"crop {crop} of {settings.data.root}" for crop in material.crops.tolist()]
    name, count = settings.data.root.resolve().name, len(material.images)
    about = {"name": name, "kind": "gallery", "images": count, "sha256": material.sha256, "judgements_used": True}
    images = JoinedImages((EncodedImages(names, material.images),), material.sha256, about=(about,))
    return Target(images, material.cameras, None, None, name, material.sha256, about, material.known)


def keep_if_better(settings: AdaptSettings, material: Material, files: Sequence[Path]) -> list[Path]:
    """Keep the new model only if it orders held-out judgements better than the gallery's; return the files that stay.

    The checkpoints go: their memory holds a vector of every crop, which only the gallery can forget.
    """
    before = measure_order(material, load(settings.data.root.expanduser() / MODEL, settings.engine.device).embed)
    try:
        after = measure_order(material, load(settings.out, settings.engine.device).embed)
    except UserError as error:  # weights that are no numbers any more
        say(f"the training diverged: {error.got}")
        after = Order(0.0, 0.0)
    refused, everyone = (
        f"{100 * new:.2f} % ({100 * old:.2f} % before)" for new, old in zip(after, before, strict=True)
    )
    said = (
        f"held out: {len(material.same):,} pairs of one person and {len(material.different):,} of two; the first are "
        f"more alike than the second in {refused} of the comparisons, than with everyone else in {everyone}"
    )
    kept = after.is_better_than(before)
    if kept:
        say(f"{said}: kept; make a gallery with `rewho gallery create NEW --model {settings.out}`")
    else:
        say(f"{said}: not better, so the gallery's model stays, and no new one is written")
        for file in files:
            file.unlink()
    shutil.rmtree(settings.out / "checkpoints", ignore_errors=True)
    counts = {"same": len(material.same), "different": len(material.different), "kept": kept}
    figures = {**counts, "before": before._asdict(), "after": after._asdict()}
    return [*(files if kept else ()), write_json(settings.out / JUDGED, figures)]
