"""The batch-hard triplet loss (Hermans et al., arXiv 1703.07737), with margin and with soft margin.

Unusual: mining and measuring are apart. The hardest pairs are found without gradients, and only their distances, 2N of
N x N, are computed again with them. That costs less, is exact where two vectors nearly coincide (a squared distance
written as a sum of products loses its digits there), and gives a zero gradient, never NaN, where two images are the
same, as samplers repeat images of people who have few.

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
    """The pairs that batch-hard mining chooses.

    Attributes:
        positive: int64 [N], the farthest image of the same person; the image itself where there is no other.
        negative: int64 [N], the nearest image of another person.
        complete: bool [N], whether there is another person in the batch at all.
    """

    positive: Tensor
    negative: Tensor
    complete: Tensor


def mine_hardest_pairs(features: Tensor, labels: Tensor) -> HardestPairs:
    """Return each image's farthest image of the same person and nearest image of another, by Euclidean distance.

    Args:
        features: [N, D].
        labels: int64 [N].

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
    """Return the N distances between the rows of two [N, D]; its gradient is zero where two rows are the same."""
    sums = (left - right).square().sum(dim=1)
    return sums if squared else sums.clamp(min=TINY).sqrt()


def triplet_loss(
    features: Tensor,
    labels: Tensor,
    margin: float = 0.3,
    distance: TripletDistance = "euclidean",
) -> Tensor:
    """Return the mean over images of how little nearer the farthest positive is than the nearest negative.

    Args:
        features: [N, D], not normalised.
        labels: int64 [N]; a batch of P people with K images each is what the loss is made for.
        margin: How much nearer positives shall be, above 0 to 100; 0 takes the soft margin log(1 + exp(d_p - d_n)).
        distance: "euclidean"; "unit_euclidean" scales vectors to length 1 first (BoT's and LUPerson's option);
            "unit_squared" is its square, 2 - 2 cos (today's fast-reid).

    Returns:
        Scalar, in float32 or float64. An image without a negative in the batch counts as 0; one without another
        positive is compared with itself.

    Raises:
        UserError: Shapes do not fit, the margin is out of range, or there is no such distance.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> triplet_loss(line, torch.tensor([0, 0, 1, 1])).item()  # the hinges are 0, 0, 4 - 2 + 0.3, 0
        0.574999988079071
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise UserError(
            "triplet loss",
            expected="features [N, D] and one label for each",
            got=f"{list(features.shape)} and {list(labels.shape)}",
            fix="Pass the pooled features of one batch and its labels.",
        )
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if distance != "euclidean":
        features = F.normalize(features)
    pairs = mine_hardest_pairs(features, labels)
    squared = distance == "unit_squared"
    to_negative = _distance(features, features[pairs.negative], squared)
    gap = _distance(features, features[pairs.positive], squared) - to_negative
    losses = F.relu(gap + margin) if margin else F.softplus(gap)
    return losses.where(pairs.complete, 0.0).mean()
