"""Contrastive loss between embeddings and the prototypes of classes, clusters and single images.

SpCL (Ge et al., NeurIPS 2020, equation 1) and what came after it compare an embedding with every prototype at once: a
cross-entropy over similarities divided by a temperature. Everything is computed in float32 or float64.

Letters: N embeddings, C prototypes, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rewho.core.check import UserError

PUBLISHED_FLOOR = 1e-6
"""SpCL's code adds it to probabilities, so that its loss ends at 13.8 and the farthest embeddings get no gradient."""


def prototype_loss(
    embeddings: Tensor,
    prototypes: Tensor,
    targets: Tensor,
    temperature: float = 0.05,
    *,
    floor: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the mean of -log(softmax of the similarities to all prototypes, at the own one).

    Args:
        embeddings: [N, D], of length 1; gradients flow into them only.
        prototypes: [C, D]. Means of unit vectors are shorter than 1 and stay so (SpCL); a similarity to the mean is the
            mean of the similarities.
        targets: int64 [N], the own prototype of each embedding.
        temperature: 0.001 to 10; 0.05 in SpCL.
        floor: Added to every probability before the logarithm; see `PUBLISHED_FLOOR`.
        weights: Weight of each embedding's loss, [N]; None weighs all alike.

    Raises:
        UserError: Shapes do not match.

    Example:
        >>> east, both = torch.tensor([[1.0, 0.0]]), torch.eye(2)
        >>> round(prototype_loss(east, both, torch.tensor([0]), temperature=1.0).item(), 4)
        0.3133
    """
    if embeddings.ndim != 2 or prototypes.ndim != 2 or embeddings.shape[1] != prototypes.shape[1]:
        expected, got = "embeddings [N, D] and prototypes [C, D]", f"{[*embeddings.shape]}, {[*prototypes.shape]}"
        raise UserError("prototype loss", expected=expected, got=got, fix="Pass one prototype per row.")
    with torch.autocast(embeddings.device.type, enabled=False):
        precision = torch.promote_types(embeddings.dtype, torch.float32)
        scores = embeddings.to(precision) @ prototypes.detach().to(precision).T / temperature
        if floor:
            losses = -(scores.softmax(dim=1).gather(1, targets[:, None])[:, 0] + floor).log()
        else:
            losses = F.cross_entropy(scores, targets, reduction="none")
        return (losses if weights is None else losses * weights.to(precision)).mean()


def camera_weights(targets: Tensor, cameras: Tensor) -> Tensor:
    """Return the weight of each image of a batch by the cameras of its cluster there, [N], with the mean 1.

    A cluster counts exp(entropy of the cameras of its images in the batch), divided by the sum over the batch's
    clusters: one seen by several cameras says more about people than one seen by a single camera (3C, 2024). The
    images of a cluster share its weight.

    Args:
        targets: int64 [N], cluster of each image.
        cameras: int64 [N], camera of each image; unknown ones are one camera.

    Example:
        >>> camera_weights(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 0]))
        tensor([1.3333, 1.3333, 0.6667, 0.6667], dtype=torch.float64)
    """
    clusters, own = targets.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    table = torch.zeros(len(clusters), int(cameras.max()) + 2, dtype=torch.float64)
    table.index_put_((own.cpu(), cameras.cpu() + 1), torch.ones(len(own), dtype=torch.float64), accumulate=True)
    sizes = table.sum(dim=1)
    shares = table / sizes[:, None]
    worth = torch.exp(-torch.special.xlogy(shares, shares).sum(dim=1))
    return (worth / worth.sum() / sizes)[own.cpu()] * len(own)
