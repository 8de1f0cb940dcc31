"""The task of `rewho train`: a model and its losses. A loss is one class here and its weight in `LossSettings`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.check import UserError
from rewho.data.batches import Batch
from rewho.losses.classify import circle_logits, cross_entropy
from rewho.losses.triplet import triplet_loss
from rewho.models.heads import Features, build_classifier
from rewho.models.single_view import SingleViewModel
from rewho.settings import LossSettings, TrainSettings

BuildLoss = Callable[[LossSettings, SingleViewModel, int], nn.Module]
"""Builds a loss from its settings, the model and the number of identities; it is called with the model's `Features` and
the labels, int64 [N], and returns a scalar. Its parameters are trained with the model and saved in checkpoints."""


class IdentityLoss(nn.Module):
    """Sum over the heads of their classifiers' cross-entropy (FD equation 1)."""

    def __init__(self, settings: LossSettings, model: SingleViewModel, identities: int) -> None:
        super().__init__()
        self.settings = settings
        self.classifiers = nn.ModuleList(
            build_classifier(settings.classifier, size, identities) for size in model.classified_sizes()
        )

    def forward(self, features: Features, labels: Tensor) -> Tensor:
        """Return the loss."""
        pairs = zip(self.classifiers, features.classified, strict=True)
        return torch.stack([self._loss(classifier(seen), labels) for classifier, seen in pairs]).sum()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        settings = self.settings
        if settings.classifier == "circle":
            logits = circle_logits(logits, labels, settings.circle_scale, settings.circle_margin)
        return cross_entropy(logits, labels, settings.label_smoothing, settings.smoothing_over)


class TripletLoss(nn.Module):
    """Sum over the heads of their batch-hard triplet loss."""

    def __init__(self, settings: LossSettings, _model: SingleViewModel, _identities: int) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, features: Features, labels: Tensor) -> Tensor:
        """Return the loss."""
        margin, distance = self.settings.margin, self.settings.triplet_distance
        return torch.stack([triplet_loss(seen, labels, margin, distance) for seen in features.compared]).sum()


LOSSES: Mapping[str, BuildLoss] = {"identity": IdentityLoss, "triplet": TripletLoss}
"""Every loss by the name of its weight in `LossSettings`; a weight of 0 leaves it out."""


class IdentityTask(nn.Module):
    """A model and the weighted sum of its losses: what the training loop calls."""

    def __init__(
        self,
        model: SingleViewModel,
        identities: int,
        settings: LossSettings,
        more: Mapping[str, tuple[float, BuildLoss]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        weighted = {name: (getattr(settings, name), build) for name, build in LOSSES.items()} | dict(more or {})
        self.weights = {name: weight for name, (weight, _) in weighted.items() if weight}
        self.losses = nn.ModuleDict({name: weighted[name][1](settings, model, identities) for name in self.weights})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `total` and, where there are several losses, each of them before its weight."""
        features = self.model.features(batch.images)
        terms: dict[str, Tensor] = {name: loss(features, batch.labels) for name, loss in self.losses.items()}
        total = torch.zeros((), device=batch.labels.device)
        for name, term in terms.items():
            total = total + self.weights[name] * term
        return {"total": total, **terms} if len(terms) > 1 else {"total": total}

    @property
    def classifiers(self) -> list[nn.Module]:
        """The identity classifiers, one per head; none without an identity loss."""
        return list(self.losses["identity"].classifiers) if "identity" in self.losses else []  # type: ignore[arg-type]

    def new_parts(self) -> list[nn.Module]:
        """Return everything that does not begin from pre-trained weights."""
        return [*self.model.new_parts(), self.losses]


def check_losses(settings: TrainSettings, labels: np.ndarray, more: Mapping[str, object]) -> None:
    """Check the names of losses, and that batches hold positives for the triplet loss: without any it has no effect."""
    for name in more:
        if name in LOSSES or not name.isidentifier():
            raise UserError(
                "losses", expected="a new name for each, of letters and digits", got=repr(name), fix="Rename it."
            )
    if not settings.loss.triplet:
        return
    sampler = settings.sampler
    if sampler.kind != "identities" or sampler.images_per_identity < 2:
        raise UserError(
            "--loss.triplet",
            expected="batches of several images of each identity",
            got=f"--sampler.kind {sampler.kind}"
            + (f" with {sampler.images_per_identity} image each" if sampler.kind == "identities" else ""),
            fix="Pass --sampler.kind identities --sampler.images_per_identity 4, or --loss.triplet 0.",
        )
    if int(np.bincount(labels).max()) < 2:
        raise UserError(
            "--loss.triplet",
            expected="identities with two training images or more",
            got=f"one image of each of {len(labels):,} identities",
            fix="Pass --loss.triplet 0, or data with several images of an identity.",
        )
