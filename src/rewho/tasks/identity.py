"""The task of `rewho train`: a model and its losses. A loss is one class here and its weight in `LossSettings`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.check import UserError
from rewho.data.batches import Batch
from rewho.losses.classify import circle_logits, classify_accuracy, cross_entropy
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
        return self.of(self.logits(features), labels)

    def logits(self, features: Features) -> list[Tensor]:
        """Return every head's logits [N, C]."""
        return [classifier(seen) for classifier, seen in zip(self.classifiers, features.classified, strict=True)]

    def of(self, logits: list[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of the heads' logits."""
        return torch.stack([self._loss(scores, labels) for scores in logits]).sum()

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


_TAKEN = {"total", "accuracy", "gradient_norm", "learning_rate", "step", "epoch", *dir(nn.ModuleDict())}
"""Names of other columns of a log, and of what torch stores losses in."""


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
        built = {name: weighted[name][1](settings, model, identities) for name in self.weights}
        for name, loss in built.items():
            if not isinstance(loss, nn.Module):
                expected, got = "a torch.nn.Module from its builder", type(loss).__name__
                fix = "Return one, with its parameters registered in it."
                raise UserError(f"losses, {name}", expected=expected, got=got, fix=fix)
        self.losses = nn.ModuleDict(built)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `total`, each loss before its weight where there are several, and the classifiers' `accuracy`."""
        features = self.model.features(batch.images)
        terms: dict[str, Tensor] = {}
        accuracy: dict[str, Tensor] = {}
        for name, loss in self.losses.items():
            if isinstance(loss, IdentityLoss):
                logits = loss.logits(features)
                terms[name] = loss.of(logits, batch.labels)
                accuracy["accuracy"] = torch.stack([classify_accuracy(one, batch.labels) for one in logits]).mean()
            else:
                terms[name] = loss(features, batch.labels)
        for name, term in terms.items():
            if not isinstance(term, Tensor) or term.numel() != 1:
                got = f"a tensor of shape {list(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
                fix = "Take the mean over the batch."
                raise UserError(f"losses, {name}", expected="one number for a batch", got=got, fix=fix)
        terms = {name: term.reshape(()) for name, term in terms.items()}
        total = torch.zeros((), device=batch.labels.device)
        for name, term in terms.items():
            total = total + self.weights[name] * term
        return {"total": total, **(terms if len(terms) > 1 else {}), **accuracy}

    @property
    def classifiers(self) -> list[nn.Module]:
        """The identity classifiers, one per head; none without an identity loss."""
        return list(self.losses["identity"].classifiers) if "identity" in self.losses else []  # type: ignore[arg-type]

    def new_parts(self) -> list[nn.Module]:
        """Return everything that does not begin from pre-trained weights."""
        return [*self.model.new_parts(), self.losses]


def check_losses(settings: TrainSettings, labels: np.ndarray, more: Mapping[str, object]) -> None:
    """Check the names of losses, and that batches hold positives for the triplet loss: without any it has no effect."""
    if not isinstance(more, Mapping):
        fix = 'Pass {"spread": (0.1, build_spread)}.'
        raise UserError("losses", expected="weight and builder by name", got=f"{more!r:.100}", fix=fix)
    for name, loss in more.items():
        if not isinstance(name, str) or not name.isidentifier() or name in LOSSES or name in _TAKEN:
            expected = "a new name for each, of letters and digits"
            raise UserError("losses", expected=expected, got=repr(name), fix="Rename it.")
        weight, build = loss if isinstance(loss, tuple) and len(loss) == 2 else (None, None)
        number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
        if not number or not callable(build):
            expected, fix = "a finite weight and a function that builds the loss", "Pass (0.1, build_spread)."
            raise UserError(f"losses, {name}", expected=expected, got=f"{loss!r:.100}", fix=fix)
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
