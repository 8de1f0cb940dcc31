"""Images and a model → where the model looks at each, and where each of its distillation's branches does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rewho.core.check import UserError, check_choice
from rewho.data.augment import resize
from rewho.data.images import decode, warn_of_wide
from rewho.data.table import ImageTable
from rewho.data.views import VIEWS
from rewho.embedding.embedder import Embedder, embedder, load, view_of
from rewho.embedding.snapshot import open_snapshot
from rewho.models.factorization import BRANCH_TENSORS, Factorization, attention, load_branches
from rewho.models.weights import CARD, TENSORS
from rewho.report.attention_sheet import AttentionRow
from rewho.settings import DeviceSettings
from rewho.training.checkpoint import STATE

OWN_MAP = "f"  # FD's letter for the feature map of the model itself
AT_ONCE = 16  # images in memory


@dataclass(frozen=True)
class Onlooker:
    """A model that shows where it looks.

    Args:
        model: The loaded model.
        branches: Its distillation's branches; None where it was not distilled, or they were not kept.
        views: Views whose feature-map branch is shown.
        weights: Files that hold the weights.
    """

    model: Embedder
    branches: Factorization | None = None
    views: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()

    def look(
        self, files: Sequence[Path], names: Sequence[str], done: Callable[[int], None] = lambda count: None
    ) -> list[AttentionRow]:
        """Return each image with its attention maps (FD figure 4).

        Args:
            files: Images of one person each.
            names: What to call them.
            done: Called with the number of images of each finished batch.

        Raises:
            UserError: An image cannot be read.
        """
        rows = []
        for start in range(0, len(files), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            rows += self._look(files[part], names[part])
            done(len(files[part]))
        return rows

    def look_at_queries(self, query: ImageTable, count: int) -> list[AttentionRow]:
        """Return `count` queries with their attention maps, spread evenly over the table."""
        chosen = np.unique(np.linspace(0, len(query) - 1, max(0, min(count, len(query))), dtype=np.int64)).tolist()
        return self.look([query.file(row) for row in chosen], [query.paths[row] for row in chosen])

    @torch.inference_mode()
    def _look(self, files: Sequence[Path], names: Sequence[str]) -> list[AttentionRow]:
        view = view_of(self.model.model)
        colour = self.model.model.mean.tolist()
        decoded = [view.masked(decode(file), str(file), colour) for file in files]
        wide = [str(file) for file, one in zip(files, decoded, strict=True) if one.shape[1] > one.shape[0]]
        warn_of_wide(wide, len(files))
        images = torch.from_numpy(resize(decoded, view)).to(self.model.device).permute(0, 3, 1, 2)
        feature_map = self.model.model.feature_map(images)
        maps = {OWN_MAP: attention(feature_map)}
        if self.branches is not None:
            maps |= {name: self.branches.attention_map(feature_map, name) for name in self.views}
        arrays = {name: tensor.cpu().numpy() for name, tensor in maps.items()}
        return [
            AttentionRow(
                np.ascontiguousarray(view.crop(image)), name, {key: array[row] for key, array in arrays.items()}
            )
            for row, (image, name) in enumerate(zip(decoded, names, strict=True))
        ]


def open_onlooker(folder: Path, engine: DeviceSettings, views: Sequence[str] = ()) -> Onlooker:
    """Load a model with the branches of its distillation, where there are any.

    Args:
        folder: A model folder, an unfinished run's folder, or one checkpoint.
        engine: Where it is computed.
        views: Views to show; empty shows all that have a feature-map branch.

    Raises:
        UserError: No model there, or no branch for a view.
    """
    if (folder / CARD).is_file():
        return onlooker(load(folder, engine.device, engine.threads), folder, views)
    snapshot = open_snapshot(folder)
    model = embedder(snapshot.model, engine)
    return _with_branches(model, snapshot.branches, snapshot.checkpoint, views, (snapshot.checkpoint / STATE,))


def onlooker(model: Embedder, folder: Path, views: Sequence[str] = ()) -> Onlooker:
    """Return a model that was loaded from a model folder, with the branches beside it; see `open_onlooker`."""
    files = (folder / TENSORS, folder / BRANCH_TENSORS)
    weights = tuple(file for file in files if file.is_file())
    return _with_branches(model, load_branches(folder), folder, views, weights)


def _with_branches(
    model: Embedder, branches: Factorization | None, folder: Path, views: Sequence[str], weights: tuple[Path, ...]
) -> Onlooker:
    """Check the views, and put the branches where the model is."""
    there = branches.views if branches is not None and branches.map_branches else ()
    if views and not there:
        raise UserError(
            "--views",
            expected="a model with the feature-map branches of a distillation",
            got=f"none in {folder}",
            fix="Leave --views out: the model's own map is always shown.",
        )
    for name in views:
        check_choice(f"--views, of the branches kept in {folder}", name, there)
    if branches is not None:
        branches = branches.to(model.device)
    in_order = sorted(there, key=lambda name: list(VIEWS).index(name) if name in VIEWS else len(VIEWS))
    return Onlooker(model, branches, tuple(views) or tuple(in_order), weights)
