"""Momentum contrast: batches of two views per image, the task and its loss, and warnings when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.core.progress import say
from rewho.core.runtime import generator
from rewho.data.batches import Part, Plan
from rewho.data.contrast_augment import apply_view, draw_view
from rewho.losses.contrastive import contrastive_accuracy, contrastive_scores, info_nce
from rewho.models.momentum import MomentumContrast, key_momentum
from rewho.models.single_view import SingleViewModel
from rewho.models.split_norm import split_batch_norm
from rewho.settings import ContrastAugmentSettings, ContrastSettings
from rewho.tasks.track_pairs import TrackPairs
from rewho.tasks.unlabelled import JoinedImages

COLLAPSED = 0.02
"""Spread of the encoder's features below which they have collapsed.

Measured with random weights on augmented images of people, batch by batch: 0.10 to 0.16 for a SqueezeNet, 0.43 to 0.75
for ResNets, 0.73 to 0.88 for a small transformer. Equal features rounded to bfloat16 are spread by 0.002 at most.
"""
COLLAPSED_QUERIES = 0.1
"""The same for the projected queries, whose spread is about 1 in a sound training.

Batch normalisation in the projection may hide collapsed features by scaling their small differences up again.
"""
SOLVED = 0.995
"""Share of own keys found above which something else than the person gives the answer away."""
STALE = -0.1
"""Mean similarity of queries to the queue below which the queue is stale.

With keys of the same network it is the squared length of their mean, so never below 0.
"""


class ContrastBatch(NamedTuple):
    """One process's part of a batch: two views of each image, uint8 RGB [N, 3, h, w], channels last in memory.

    `order` is float64 [N], random: sorted over all processes, it shuffles the keys. `rows` is int64 [N]. `tracks` is
    int64 [N], the number of each image's track, or -1 where tracks are not used.
    """

    first: Tensor
    second: Tensor
    order: Tensor
    rows: Tensor
    tracks: Tensor


class ContrastPreparation:
    """Makes batches of two views from plans, in worker processes; `mean_colour` is RGB, 0 to 255.

    With `pairs`, the key's view comes from another image of the query's track, where there is one.
    """

    def __init__(
        self,
        images: JoinedImages,
        size: tuple[int, int],
        augment: ContrastAugmentSettings,
        seed: int,
        mean_colour: tuple[float, ...],
        pairs: TrackPairs | None = None,
    ) -> None:
        self.images, self.size, self.augment = images, size, augment
        self.seed, self.mean_colour, self.pairs = seed, mean_colour, pairs

    def __call__(self, plan: Plan, part: Part) -> ContrastBatch:
        """Return one process's part of a planned batch; random numbers are drawn for the whole batch."""
        rows, count = plan.rows[part], len(plan.rows)
        images = [self.images[int(row)] for row in rows]
        others, tracks = images, np.full(len(rows), -1)
        if self.pairs is not None:
            drawn = self.pairs.draw(plan.rows, generator(self.seed, "track pair", plan.epoch, plan.step))[part]
            same = zip(rows.tolist(), drawn.tolist(), images, strict=True)
            others = [image if row == other else self.images[other] for row, other, image in same]
            tracks = self.pairs.numbers[rows]
        views = []
        for name, shown in (("query view", images), ("key view", others)):
            draws = draw_view(self.augment, count, self.size, generator(self.seed, name, plan.epoch, plan.step))
            views.append(torch.from_numpy(apply_view(shown, draws[part], self.augment, self.mean_colour)))
        order = generator(self.seed, "key order", plan.epoch, plan.step).random(count)[part]
        first, second = (view.permute(0, 3, 1, 2) for view in views)
        return ContrastBatch(
            first,
            second,
            torch.from_numpy(order),
            torch.from_numpy(np.ascontiguousarray(rows)),
            torch.from_numpy(tracks),
        )


class ContrastTask(nn.Module):
    """Momentum contrast and its loss, called by the training loop.

    With several forward passes per step, the momentum is applied at each and adjusted so that a step moves the key
    encoder as far as one forward pass with the whole batch would.
    """

    def __init__(self, encoder: SingleViewModel, settings: ContrastSettings, passes: int = 1) -> None:
        super().__init__()
        if settings.freeze_patches:
            _freeze_patches(encoder)
        self.settings, self.passes = settings, passes
        self.contrast = MomentumContrast(
            encoder,
            encoder.settings.embedding,
            settings.projection,
            settings.queue,
            settings.momentum,
            settings.head_norm,
            settings.positives == "track",
        )
        self.set_progress(0.0)
        self.temperature = settings.temperature
        if settings.norm_group:
            split_batch_norm(self.contrast, settings.norm_group)

    def set_progress(self, done: float) -> None:
        """Set the key encoder's momentum to that of a share of the training, 0 to 1."""
        momentum = key_momentum(self.settings.momentum, done, self.settings.momentum_schedule)
        self.contrast.momentum = momentum ** (1 / self.passes)

    @property
    def encoder(self) -> SingleViewModel:
        """The query encoder, which the training saves."""
        encoder = self.contrast.encoder
        assert isinstance(encoder, SingleViewModel)
        return encoder

    def forward(self, batch: ContrastBatch) -> dict[str, Tensor]:
        """Return `total`, the loss of a batch, and figures that show whether the contrast works.

        `found` is the share of queries whose own key is the nearest; `own_similarity` and `queue_similarity` are mean
        cosines; `spread` (features) and `query_spread` (projections) are about 1 if even, 0 if all are equal.
        """
        found = self.contrast(batch.first, batch.second, batch.order, batch.tracks)
        queries, keys, queue, features, related = found
        scores = contrastive_scores(queries, keys, queue, self.temperature, related)
        with torch.no_grad():
            figures = {
                "found": contrastive_accuracy(scores),
                "own_similarity": scores.positive.mean() * self.temperature,
                "queue_similarity": _mean_of_others(scores.negative, related) * self.temperature,
                "spread": F.normalize(features.float()).var(dim=0).sum().sqrt(),
                "query_spread": queries.var(dim=0).sum().sqrt(),
            }
        return {"total": info_nce(scores), **figures}


def _mean_of_others(scores: Tensor, related: Tensor | None) -> Tensor:
    """Return the mean score of the keys that are negatives."""
    if related is None:
        return scores.mean()
    return scores.masked_fill(related, 0.0).sum() / (~related).sum().clamp(min=1)


def _freeze_patches(encoder: SingleViewModel) -> None:
    patches = [parameter for name, parameter in encoder.named_parameters() if "patch_embed" in name]
    if not patches:
        expected, fix = "a transformer", "Leave it out."
        got = f"{encoder.settings.backbone}, which has no patches"
        raise UserError("--contrast.freeze_patches", expected=expected, got=got, fix=fix)
    for parameter in patches:
        parameter.requires_grad_(False)


def find_failure(means: Mapping[str, float], *, filled: bool = True) -> str | None:
    """Return a warning if an epoch's mean figures of `ContrastTask.forward` show failure, None if not.

    Before the queue is `filled` with real keys, `found` and `queue_similarity` mean nothing: random keys are easy.

    Example:
        >>> sound = {"spread": 0.4, "query_spread": 0.9, "found": 0.6, "queue_similarity": 0.1}
        >>> find_failure(sound)
        >>> find_failure({**sound, "spread": 0.001})[:9]
        'collapsed'
        >>> find_failure({**sound, "queue_similarity": -0.3})[:5]
        'stale'
    """
    if means["spread"] < COLLAPSED or means["query_spread"] < COLLAPSED_QUERIES:
        return (
            f"collapsed: all images get nearly the same embedding (spread {means['spread']:.4f}, of the queries "
            f"{means['query_spread']:.3f}). Lower --optimizer.learning_rate or add "
            "--optimizer.warmup_epochs, and look at --contrast.temperature."
        )
    if filled and means["found"] > SOLVED:
        return (
            f"too easy: {means['found']:.1%} of the own keys are found, so something gives the answer away. Use a "
            "longer --contrast.queue, stronger --augment, and --contrast.norm_group of 32 or less."
        )
    if filled and means["queue_similarity"] < STALE:
        return (
            "stale: the encoder changes faster than the keys in the queue, so their age gives them away "
            f"(mean similarity {means['queue_similarity']:.2f}). Raise --contrast.momentum, shorten --contrast.queue, "
            "or lower --optimizer.learning_rate."
        )
    return None


def warn_of_failure(means: Mapping[str, float], *, filled: bool) -> None:
    """Warn if an epoch's mean figures show a failure; see `find_failure`."""
    problem = find_failure(means, filled=filled)
    if problem:
        say(f"warning: {problem}")
