"""The regression losses of Factorized Distillation: a branch's output mimics a teacher's representation (FD figure 3).

Unusual: the distance is *summed* over dimensions, as in the paper. With targets of unit variance a loss starts near its
dimension, and the weighted total in the thousands. Sums are therefore never computed in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.settings.distill import Balance, Divisor, MimicDistance


def mimic_loss(
    target: Tensor,
    prediction: Tensor,
    keep: Tensor | None = None,
    divide_by: Divisor = "batch",
    distance: MimicDistance = "sum",
) -> Tensor:
    """Return 1/(2N) times the sum over samples of the squared distance of target and prediction (FD equations 3, 4).

    Args:
        target: The teacher's representations [N, D]; no gradient flows into them.
        prediction: Representations [N, D] that a branch predicts.
        keep: Boolean [N]; samples with False are ignored (FD section 4.1). None keeps all; without any the loss is 0.
        divide_by: What N is: "batch" counts ignored samples too (the literal equation), "kept" does not.
        distance: "sum" over dimensions is the paper's; "mean" divides it by D, so that views of different widths weigh
            the same; "cosine" scales both vectors to length 1 first, which gives 1 - cosine similarity per sample.

    Raises:
        UserError: Shapes differ.

    Example:
        >>> target, prediction = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.zeros(2, 2)
        >>> mimic_loss(target, prediction).item()  # (25 + 1) / (2 * 2)
        6.5
        >>> mimic_loss(target, prediction, keep=torch.tensor([False, True]), divide_by="kept").item()
        0.5
    """
    _check_shapes(target, prediction, keep)
    precision = torch.promote_types(torch.promote_types(target.dtype, prediction.dtype), torch.float32)
    target, prediction = target.detach().to(precision), prediction.to(precision)
    if distance == "cosine":
        target, prediction = F.normalize(target), F.normalize(prediction)
    squared = (target - prediction).square()
    per_sample = squared.mean(dim=1) if distance == "mean" else squared.sum(dim=1)
    if keep is None:
        return per_sample.mean() / 2
    divisor = keep.sum().clamp(min=1) if divide_by == "kept" else len(keep)
    return per_sample.where(keep, 0.0).sum() / (2 * divisor)


def _check_shapes(target: Tensor, prediction: Tensor, keep: Tensor | None) -> None:
    if target.ndim != 2 or target.shape != prediction.shape:
        expected, got = f"the shape of the predictions, {list(prediction.shape)}", str(list(target.shape))
        fix = "Build the branches with the width of each view's representations."
        raise UserError("representations of the teacher", expected=expected, got=got, fix=fix)
    if keep is not None and (keep.dtype != torch.bool or keep.shape != target.shape[:1]):
        expected, got = f"one boolean per sample, [{len(target)}]", f"{keep.dtype} of shape {list(keep.shape)}"
        fix = "Pass one view's column, True where the sample counts."
        raise UserError("samples to keep", expected=expected, got=got, fix=fix)


def factorized_total(
    cross_entropy: Tensor,
    attribute_losses: Sequence[Tensor],
    metric_losses: Sequence[Tensor],
    alpha: float = 4.0,
    beta: float = 2.0,
    balance: Balance = "fixed",
    log_variances: Tensor | None = None,
) -> Tensor:
    """Return L_cls + alpha/K times the sum of L_attr + beta/K times the sum of L_metric (FD equation 6).

    Args:
        cross_entropy: Identity loss, a scalar.
        attribute_losses: `mimic_loss` of each view's feature-map branch, K scalars or none.
        metric_losses: `mimic_loss` of each view's representation branch, K scalars or none.
        alpha: Weight of the feature-map branches, 0 to 1e6.
        beta: Weight of the representation branches, 0 to 1e6.
        balance: "fixed" is the paper's. "scale" first scales each kind down to the identity loss of this step, but
            never up, because that would strengthen mimicking whenever the identity loss grows. "uncertainty" weighs
            each kind by exp(-s) and adds s/2, with s learned (Kendall et al., CVPR 2018, "Multi-Task Learning Using
            Uncertainty to Weigh Losses").
        log_variances: For "uncertainty": s of the two kinds, [2].

    Raises:
        UserError: The two kinds of losses are of different numbers of views.

    Example:
        >>> one = torch.tensor(1.0)
        >>> factorized_total(one, [3 * one, 5 * one], [one, one]).item()  # 1 + 4/2 * 8 + 2/2 * 2
        19.0
    """
    if attribute_losses and metric_losses and len(attribute_losses) != len(metric_losses):
        got = f"{len(attribute_losses)} from feature maps and {len(metric_losses)} from representations"
        fix = "Pass the loss of every view, or none of one kind."
        raise UserError("losses of the branches", expected="as many of one kind as of the other", got=got, fix=fix)
    total = cross_entropy
    for place, (weight, losses) in enumerate(((alpha, attribute_losses), (beta, metric_losses))):
        if not losses:
            continue
        mean = torch.stack(tuple(losses)).mean()
        if balance == "scale":
            size = mean.detach().clamp(min=torch.finfo(mean.dtype).tiny)
            mean = mean * (cross_entropy.detach() / size).clamp(max=1)
        elif balance == "uncertainty":
            assert log_variances is not None, "the caller owns the learned weights"
            mean = mean * torch.exp(-log_variances[place])
            total = total + log_variances[place] / 2
        total = total + weight * mean
    return total
