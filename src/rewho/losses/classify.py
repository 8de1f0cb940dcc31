"""The identity loss: cross-entropy with label smoothing in both conventions of the field, and circle-softmax.

Letters: N images, C identities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rewho.settings.model import SmoothingOver


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0, over: SmoothingOver = "all") -> Tensor:
    """Return the mean cross-entropy of identity logits (FD equation 1 as a mean), computed in float32 or float64.

    Args:
        logits: [N, C], one score per identity.
        labels: [N] int64, from 0 to C - 1.
        smoothing: Share e of the target that is spread over identities, 0 to 1.
        over: "all" gives the true identity 1 - e + e/C and every other e/C (PyTorch, torchreid); "others" gives the
            true identity 1 - e and every other e/(C - 1) (fast-reid).

    Example:
        >>> round(cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)
        1.3863
    """
    if over == "others":  # the same target is PyTorch's convention with a larger share
        identities = logits.shape[1]
        smoothing = min(1.0, smoothing * identities / max(identities - 1, 1))
    return F.cross_entropy(_at_least_float32(logits), labels, label_smoothing=smoothing)


def circle_logits(cosine: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.35) -> Tensor:
    """Return the logits [N, C] of circle-softmax (Sun et al., CVPR 2020, on class weights, as in fast-reid).

    A cosine s is weighted by its distance from its optimum. The logit of the true identity is
    scale * a * (s - (1 - margin)) with a = max(0, 1 + margin - s), that of any other scale * a * (s - margin) with
    a = max(0, s + margin). The weights a are constants in the backward pass. The loss is the cross-entropy of these
    logits.

    Args:
        cosine: [N, C], cosines of embeddings and class weights.
        labels: [N] int64, from 0 to C - 1.
        scale: 0.1 to 1000; 64 in fast-reid's MGN.
        margin: 0 to 1; 0.35 in fast-reid's MGN.

    Example:
        >>> circle_logits(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), scale=10, margin=0.25)
        tensor([[-1.8750, -0.6250]])
    """
    cosine = _at_least_float32(cosine)
    constant = cosine.detach()
    own = F.one_hot(labels, cosine.shape[1]).bool()
    weight = torch.where(own, 1 + margin - constant, constant + margin).clamp(min=0)
    threshold = margin + (1 - 2 * margin) * own.to(cosine.dtype)
    return scale * weight * (cosine - threshold)


@torch.no_grad()
def classify_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of images whose true identity has the highest logit, 0 to 1, as a scalar.

    Args:
        logits: [N, C], one score per identity.
        labels: [N] int64, from 0 to C - 1.

    Example:
        >>> classify_accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), torch.tensor([0, 1, 1])).item()
        0.6666666865348816
    """
    return (logits.argmax(1) == labels).float().mean()


def _at_least_float32(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
