"""Images and a model → where the model looks at each, and where each of its distillation's branches does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from rewho.core.check import UserError, check_choice
from rewho.data.augment import resize
from rewho.data.images import decode, warn_of_wide
from rewho.data.table import ImageTable
from rewho.data.views import VIEWS
from rewho.embedding.embedder import Embedder, view_of
from rewho.embedding.images import in_batches
from rewho.models.factorization import attention
from rewho.report.attention_sheet import AttentionRow

OWN_MAP = "f"  # FD's letter for the feature map of the model itself
BATCH = 16  # images in memory


def shown_views(model: Embedder, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the views whose feature-map branch can be shown, in the paper's order; empty `wanted` means all."""
    branches = model.branches
    kept = branches.views if branches is not None and branches.map_branches else ()
    folder = model.weights[0].parent
    if wanted and not kept:
        expected = "a model with the feature-map branches of a distillation"
        fix = "Leave --views out: the model's own map is always shown."
        raise UserError("--views", expected=expected, got=f"none in {folder}", fix=fix)
    for name in wanted:
        check_choice(f"--views, of the branches kept in {folder}", name, kept)
    order = list(VIEWS)
    return tuple(wanted) or tuple(sorted(kept, key=lambda name: order.index(name) if name in VIEWS else len(order)))


def compute_attention(
    model: Embedder,
    files: Sequence[Path],
    names: Sequence[str],
    views: Sequence[str],
    done: Callable[[int], None] = lambda count: None,
) -> list[AttentionRow]:
    """Return each image with its attention maps (FD figure 4): the model's own and those of the views' branches.

    `done` is called with the number of images of each finished batch.
    """
    rows = []
    for part in in_batches(list(zip(files, names, strict=True)), BATCH):
        rows += _compute_batch(model, part, views)
        done(len(part))
    return rows


def compute_query_attention(model: Embedder, query: ImageTable, count: int) -> list[AttentionRow]:
    """Return `count` queries, spread evenly over the table, with their attention maps of all views."""
    rows = np.unique(np.linspace(0, len(query) - 1, max(0, min(count, len(query))), dtype=np.int64)).tolist()
    files, names = [query.file(row) for row in rows], [query.paths[row] for row in rows]
    return compute_attention(model, files, names, shown_views(model))


@torch.inference_mode()
def _compute_batch(model: Embedder, named: Sequence[tuple[Path, str]], views: Sequence[str]) -> list[AttentionRow]:
    network, view = model.model, view_of(model.model)
    colour = network.mean.tolist()
    decoded = [view.masked(decode(file), str(file), colour) for file, _ in named]
    warn_of_wide(
        [str(file) for (file, _), one in zip(named, decoded, strict=True) if one.shape[1] > one.shape[0]], len(named)
    )
    images = torch.from_numpy(resize(decoded, view)).to(model.device).permute(0, 3, 1, 2)
    feature_map = network.feature_map(images)
    maps = {OWN_MAP: attention(feature_map)}
    if model.branches is not None:
        maps |= {name: model.branches.attention_map(feature_map, name) for name in views}
    arrays = {name: tensor.cpu().numpy() for name, tensor in maps.items()}
    return [
        AttentionRow(np.ascontiguousarray(view.crop(image)), name, {key: array[row] for key, array in arrays.items()})
        for row, (image, (_, name)) in enumerate(zip(decoded, named, strict=True))
    ]
