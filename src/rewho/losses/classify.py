"""The identity loss: cross-entropy, with label smoothing in the two conventions that the field mixes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rewho.core.check import check_choice, check_range

SMOOTHING_CONVENTIONS = ("all", "others")


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0, over: str = "all") -> Tensor:
    """Return the mean cross-entropy of identity logits (FD equation 1 as a mean; computed in float32).

    Args:
        logits: [N, C], one score per identity.
        labels: [N] int64, from 0 to C - 1.
        smoothing: Share e of the target that is spread, 0 to 1.
        over: "all" gives the true identity 1 - e + e/C and every other e/C (PyTorch, torchreid); "others" gives the
            true identity 1 - e and every other e/(C - 1) (fast-reid).

    Returns:
        Scalar.

    Raises:
        UserError: `smoothing` is not from 0 to 1, or `over` is neither convention.

    Example:
        >>> import torch
        >>> round(cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)
        1.3863
    """
    check_range("--loss.label_smoothing", smoothing, 0, 1)
    check_choice("--loss.smoothing_over", over, SMOOTHING_CONVENTIONS)
    if over == "others":  # the same target, written as PyTorch's convention with a larger share
        identities = logits.shape[1]
        smoothing = min(1.0, smoothing * identities / (identities - 1))
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
