"""The batch-hard triplet loss (Hermans et al., arXiv 1703.07737), with margin and with soft margin.

Unusual: the hardest pairs are mined without gradients, and only their distances, 2N of N x N, are computed again with
gradients. That is cheaper. It is exact where two vectors nearly coincide: a squared distance as a sum of products loses
its digits there. And the gradient is zero, never NaN, for two copies of an image, which samplers draw for people with
few images.

Letters: N images, D embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.settings.model import TripletDistance

TINY = 1e-12
"""Smallest squared distance with a gradient; below it two vectors are the same."""


class HardestPairs(NamedTuple):
    """The pairs of batch-hard mining.

    Attributes:
        positive: int64 [N], the farthest image of the same person; the image itself if there is no other.
        negative: int64 [N], the nearest image of another person.
        complete: bool [N], whether the batch has another person.
    """

    positive: Tensor
    negative: Tensor
    complete: Tensor


def mine_hardest_pairs(features: Tensor, labels: Tensor) -> HardestPairs:
    """Return the hardest positive and negative of each image [N, D], by Euclidean distance.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> pairs = mine_hardest_pairs(line, torch.tensor([0, 0, 1, 1]))
        >>> pairs.positive.tolist(), pairs.negative.tolist()
        ([1, 0, 3, 2], [2, 2, 1, 1])
    """
    with torch.no_grad():
        distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        same = labels[:, None] == labels[None, :]
        positive = distance.masked_fill(~same, -1).argmax(dim=1)
        negative = distance.masked_fill(same, torch.inf).argmin(dim=1)
        return HardestPairs(positive, negative, ~same.all(dim=1))


def _distance(left: Tensor, right: Tensor, squared: bool) -> Tensor:
    """Return the distances [N] between the rows of two [N, D]; the gradient is zero where two rows are equal."""
    sums = (left - right).square().sum(dim=1)
    return sums if squared else sums.clamp(min=TINY).sqrt()


def triplet_loss(
    features: Tensor,
    labels: Tensor,
    margin: float = 0.3,
    distance: TripletDistance = "euclidean",
) -> Tensor:
    """Return the batch-hard loss: mean over anchors of max(0, margin + d(hardest positive) - d(hardest negative)).

    An anchor without a negative in the batch counts as 0; the positive of one without another positive is itself.

    Args:
        features: [N, D], not normalised.
        labels: int64 [N]; the loss is made for batches of P people with K images each.
        margin: 0 to 100; 0 means the soft margin log(1 + exp(d_p - d_n)).
        distance: "euclidean"; "unit_euclidean" scales vectors to length 1 first (BoT's and LUPerson's option);
            "unit_squared" is its square, 2 - 2 cos (today's fast-reid).

    Raises:
        UserError: Shapes do not match.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> triplet_loss(line, torch.tensor([0, 0, 1, 1])).item()  # the hinges are 0, 0, 4 - 2 + 0.3, 0
        0.574999988079071
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        got, fix = f"{list(features.shape)} and {list(labels.shape)}", "Pass the features of one batch and its labels."
        raise UserError("triplet loss", expected="features [N, D] and one label for each", got=got, fix=fix)
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if distance != "euclidean":
        features = F.normalize(features)
    pairs = mine_hardest_pairs(features, labels)
    squared = distance == "unit_squared"
    to_negative = _distance(features, features[pairs.negative], squared)
    gap = _distance(features, features[pairs.positive], squared) - to_negative
    losses = F.relu(gap + margin) if margin else F.softplus(gap)
    return losses.where(pairs.complete, 0.0).mean()
