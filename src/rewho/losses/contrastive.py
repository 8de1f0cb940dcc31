"""InfoNCE: classify the other view of the same image against a queue of negatives (LUPerson equation 1).

Unusual: the column of positives is not concatenated with the queue's, because that would copy the largest tensor of the
training, [N, K]; two log-sum-exps are combined instead. Everything is computed in float32 or float64: at a temperature
of 0.07 the error of a score in half precision exceeds 0.01.

Letters: N queries, K keys in the queue, D embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rewho.core.check import UserError


class ContrastScores(NamedTuple):
    """Similarities divided by the temperature: [N] of queries and their own keys, [N, K] of queries and the queue."""

    positive: Tensor
    negative: Tensor


def contrastive_scores(
    queries: Tensor, keys: Tensor, queue: Tensor, temperature: float = 0.07, related: Tensor | None = None
) -> ContrastScores:
    """Return the scores that InfoNCE compares.

    Args:
        queries: [N, D], of length 1; gradients flow into them only.
        keys: [N, D], of length 1: the other view of each query's image.
        queue: [K, D], of length 1: views of other images.
        temperature: 0.001 to 10; 0.07 in the paper.
        related: bool [N, K]: keys that are no negatives of a query, such as those of its own track. Their scores are
            the smallest number there is, so that they have no weight and no gradient.

    Raises:
        UserError: Shapes do not match.

    Example:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> contrastive_scores(east, east, north, temperature=0.5)
        ContrastScores(positive=tensor([2.]), negative=tensor([[0.]]))
    """
    if queries.ndim != 2 or keys.shape != queries.shape or queue.ndim != 2 or queue.shape[1] != queries.shape[1]:
        expected = "queries [N, D], keys [N, D] and a queue [K, D]"
        got = f"{list(queries.shape)}, {list(keys.shape)}, {list(queue.shape)}"
        raise UserError("InfoNCE", expected=expected, got=got, fix="Pass the queue with one key per row.")
    with torch.autocast(queries.device.type, enabled=False):
        precision = torch.promote_types(queries.dtype, torch.float32)
        queries, keys, queue = (part.to(precision) for part in (queries, keys.detach(), queue.detach()))
        scaled = queries / temperature
        negative = scaled @ queue.T
        if related is not None:
            negative = negative.masked_fill(related, torch.finfo(negative.dtype).min)
        return ContrastScores((scaled * keys).sum(dim=1), negative)


def info_nce(scores: ContrastScores) -> Tensor:
    """Return the mean of -log(exp(s+) / (exp(s+) + sum of exp(s-))) over the queries (LUPerson equation 1).

    Example:
        >>> round(info_nce(ContrastScores(torch.zeros(2), torch.zeros(2, 3))).item(), 4)  # log 4
        1.3863
    """
    everything = torch.logaddexp(scores.positive, scores.negative.logsumexp(dim=1))
    return (everything - scores.positive).mean()


def contrastive_accuracy(scores: ContrastScores) -> Tensor:
    """Return the share of queries, 0 to 1, that are more similar to their own key than to every key of the queue.

    Example:
        >>> scores = ContrastScores(torch.tensor([2.0, 1.0]), torch.tensor([[1.0, 1.5], [3.0, 0.0]]))
        >>> contrastive_accuracy(scores).item()
        0.5
    """
    return (scores.positive > scores.negative.amax(dim=1)).float().mean()
