"""Branches of Factorized Distillation: they predict each teacher's embedding from the student (FD figure 3).

They exist while training only; a saved student has none of them.

The 1 x 1 convolution is written as a matrix product over the map's positions: the same numbers, and faster on the CPU
in every memory layout. One wide layer for all views would be the same function, but no faster, because its output is
too large for the cache. Seven views take more multiplications than a whole SqueezeNet (193 to 167 million per image):
`features` decides how long a step takes.

Letters: N images, C channels of the student's map, h and w its height and width, F selected features, K views,
D_k width of view k's representation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.artifact import verify_hash, write_file, write_json
from rewho.core.check import UserError, check_choice
from rewho.core.files import read_json
from rewho.core.tensors import read_weights
from rewho.models.heads import Embedding
from rewho.models.loading import load_tensors, tensor_bytes
from rewho.models.pooling import StabilizedMaxPool
from rewho.models.single_view import SingleViewModel


class Prediction(NamedTuple):
    """Predictions of both branches of a view; None where a kind of branch was left out.

    Attributes:
        from_map: [N, D_k], of the feature-map branch; compared in L_attr (FD equation 3).
        from_representation: [N, D_k], of the representation branch; compared in L_metric (FD equation 4).
    """

    from_map: Tensor | None
    from_representation: Tensor | None


class FeatureMapBranch(nn.Module):
    """FMFB of one view: 1 x 1 convolution, BN, ReLU; stabilised maximum; embedding (FD section 3.3)."""

    def __init__(self, channels: int, width: int, features: int = 512, kernel: int = 4) -> None:
        super().__init__()
        self.select = nn.Linear(channels, features, bias=False)
        self.normalise = nn.BatchNorm2d(features)
        self.pooling = StabilizedMaxPool(kernel)
        self.embedding = Embedding(features, width)
        nn.init.kaiming_normal_(self.select.weight, mode="fan_out")

    def selected_map(self, feature_map: Tensor) -> Tensor:
        """Return the view's map f^k [N, F, h, w] of a feature map [N, C, h, w]."""
        # Positions are rows here; the result is in the channels-last layout, which later layers are fastest on.
        selected = self.select(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.relu(self.normalise(selected), inplace=True)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map [N, C, h, w] to [N, D_k]."""
        prediction: Tensor = self.embedding(self.pooling(self.selected_map(feature_map)))
        return prediction


class RepresentationBranch(nn.Module):
    """RFB of one view: FC, BN, ReLU, then FC, BN (FD section 3.4).

    `features=0` leaves the first three layers out, as the paper does for the student's own view.
    """

    def __init__(self, size: int, width: int, features: int = 512) -> None:
        super().__init__()
        self.select = nn.Sequential(Embedding(size, features), nn.ReLU(inplace=True)) if features else nn.Identity()
        self.mapping = Embedding(features or size, width)

    def forward(self, representation: Tensor) -> Tensor:
        """Map [N, D] to [N, D_k]."""
        prediction: Tensor = self.mapping(self.select(representation))
        return prediction


class Factorization(nn.Module):
    """Both kinds of branches for each of K views (FD figure 3).

    Args:
        channels: Channels C of the student's feature map.
        size: Length D of the student's representation.
        widths: Width D_k of each view's supervisory representation, by view name.
        features: Features F that each branch selects; 512 in the paper.
        kernel: Averaging window of the feature-map branches' stabilised maximum; 4 in the paper.
        student_view: The view that the student itself sees.
        from_map: Whether there are feature-map branches (FD table 7 leaves them out in turn).
        from_representation: Whether there are representation branches.

    Example:
        >>> factorization = Factorization(8, 6, {"holistic": 6, "up1": 4}, features=5)
        >>> predictions = factorization(torch.randn(3, 8, 16, 8), torch.randn(3, 6))
        >>> predictions["up1"].from_map.shape, predictions["up1"].from_representation.shape
        (torch.Size([3, 4]), torch.Size([3, 4]))
    """

    def __init__(
        self,
        channels: int,
        size: int,
        widths: Mapping[str, int],
        features: int = 512,
        kernel: int = 4,
        student_view: str = "holistic",
        from_map: bool = True,
        from_representation: bool = True,
    ) -> None:
        super().__init__()
        if not widths or not (from_map or from_representation):
            raise UserError(
                "branches of the distillation",
                expected="at least one view and one kind of branch",
                got=f"{len(widths)} views, from_map {from_map}, from_representation {from_representation}",
                fix="Name a teacher's view, and switch one kind of branch on.",
            )
        self.description = {
            **{"channels": channels, "size": size, "widths": dict(widths), "features": features, "kernel": kernel},
            **{"student_view": student_view, "from_map": from_map, "from_representation": from_representation},
        }
        self.widths, self.student_view, self.views = dict(widths), student_view, tuple(widths)
        # Lists, not dictionaries by view: torch's dictionary of modules refuses names such as "values".
        self.map_branches = nn.ModuleList(
            FeatureMapBranch(channels, width, features, kernel) for width in widths.values() if from_map
        )
        self.representation_branches = nn.ModuleList(
            RepresentationBranch(size, width, 0 if view == student_view else features)
            for view, width in widths.items()
            if from_representation
        )

    def forward(self, feature_map: Tensor, representation: Tensor) -> dict[str, Prediction]:
        """Return the predictions [N, D_k] by view, from the student's f [N, C, h, w] and r [N, D]."""
        from_map = [branch(feature_map) for branch in self.map_branches]
        from_representation = [branch(representation) for branch in self.representation_branches]
        pairs = zip_longest(self.views, from_map, from_representation)
        return {view: Prediction(*pair) for view, *pair in pairs}

    @torch.no_grad()
    def folded(self, embedding: nn.Module) -> Embedding:
        """Return the student's embedding and the representation branch of its own view, folded into one layer.

        Both are FC and batch normalisation, so in evaluation mode they are one linear map of the pooled feature: its
        output is in the space of that view's teacher. Not in the paper, whose student keeps its own representation.
        The result maps [N, C] to [N, D_k] and is in evaluation mode.
        """
        if self.student_view not in self.views or not self.representation_branches:
            raise UserError(
                "--embedding_space teacher",
                expected=f"a teacher of the student's own view ({self.student_view}) and representation branches",
                got=f"views {', '.join(self.views)}; from_representation {bool(self.representation_branches)}",
                fix="Add that view's teacher, switch the branches on, or pass --embedding_space student.",
            )
        if not isinstance(embedding, Embedding):
            raise UserError(
                "--embedding_space teacher",
                expected="a student whose head is fc_bn, a fully connected layer and batch normalisation",
                got=f"a head made of {type(embedding).__name__}",
                fix="Train the student with --model.head fc_bn, or pass --embedding_space student.",
            )
        branch = self.representation_branches[self.views.index(self.student_view)]
        assert isinstance(branch, RepresentationBranch)
        first, mapping = embedding.normalise, branch.mapping.project.weight.double()
        assert first.running_mean is not None
        assert first.running_var is not None
        scale = first.weight.double() / (first.running_var.double() + first.eps).sqrt()
        shift = first.bias.double() - scale * first.running_mean.double()
        result = copy.deepcopy(branch.mapping)
        # On the meta device, because drawing weights here would shift the random numbers of the training.
        project = nn.Linear(embedding.project.in_features, len(mapping), bias=False, device="meta")
        result.project = project.to_empty(device=mapping.device)
        result.project.weight.copy_(mapping @ (scale[:, None] * embedding.project.weight.double()))
        assert result.normalise.running_mean is not None
        result.normalise.running_mean -= mapping @ shift
        return result.eval()

    @torch.no_grad()
    def attention_map(self, feature_map: Tensor, view: str) -> Tensor:
        """Return the attention of a view's feature-map branch, [N, h, w] from 0 to 1 (FD figure 4).

        `feature_map` is the student's map f [N, C, h, w]. Running statistics are not updated, also while training.
        """
        if not self.map_branches:
            raise UserError(
                "attention of a view",
                expected="feature-map branches",
                got="a distillation without them",
                fix="Train with from_map on; the student's own map still has an attention.",
            )
        branch = self.map_branches[self.views.index(check_choice("view", view, self.views))]
        assert isinstance(branch, FeatureMapBranch)
        was_training = branch.training
        selected = branch.eval().selected_map(feature_map)
        branch.train(was_training)
        return attention(selected)


def attention(feature_map: Tensor) -> Tensor:
    """Return the L1 norm over channels of a map [N, C, h, w], scaled to 0 to 1 within each image (FD figure 4).

    The result [N, h, w] is float32: 0 at each image's weakest position, 1 at its strongest; all 0 if both are equal.
    """
    norms = feature_map.float().abs().sum(dim=1)
    low, high = norms.amin(dim=(1, 2), keepdim=True), norms.amax(dim=(1, 2), keepdim=True)
    return (norms - low) / (high - low).clamp(min=torch.finfo(norms.dtype).tiny)


def folded_student(student: SingleViewModel, factorization: Factorization) -> SingleViewModel:
    """Return a copy of a student that ends in the space of its own view's teacher; see `Factorization.folded`."""
    folded = copy.deepcopy(student)
    folded.embedding = factorization.folded(student.embedding)
    folded.settings = replace(student.settings, embedding=factorization.widths[factorization.student_view])
    return folded


BRANCH_TENSORS = "branches.safetensors"
BRANCH_CARD = "branches.json"


def save_branches(folder: Path, factorization: Factorization) -> list[Path]:
    """Write the branches beside a student, for `rewho explain`; returns the files written."""
    content = tensor_bytes(factorization)
    return [
        write_file(folder / BRANCH_TENSORS, lambda file: file.write(content)),
        write_json(folder / BRANCH_CARD, {"format": 1, **factorization.description}),
    ]


def load_branches(folder: Path) -> Factorization | None:
    """Return the branches beside a student, in evaluation mode; None where there are none."""
    if not (folder / BRANCH_CARD).is_file():
        return None
    verify_hash(folder / BRANCH_CARD, "model.json", "manifest.json")
    description = read_json(folder / BRANCH_CARD, fix="Copy the model folder again.", format=int)
    description.pop("format")
    factorization = build_branches(folder / BRANCH_CARD, description)
    load_tensors(factorization, read_weights(folder / BRANCH_TENSORS), f"{folder / BRANCH_TENSORS}")
    return factorization.eval()


def build_branches(path: Path, description: Mapping[str, Any]) -> Factorization:
    """Build untrained branches from their description, which is in the file `path`."""
    try:
        return Factorization(**description)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"{path}",
            expected="branches as `rewho distill` describes them",
            got=f"{type(error).__name__}: {error}",
            fix="Copy the folder again.",
        ) from error
