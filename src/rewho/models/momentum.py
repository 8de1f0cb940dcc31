"""Momentum contrast: an encoder, a copy that slowly follows it, a queue of what the copy said (LUPerson section 4.1).

Unusual: the batch is shuffled for the key encoder by numbers that came with the images, not by a draw of its own.
So any number of processes shuffle alike, a resumed run shuffles as the uninterrupted one did, and the images that
share a batch normalisation are others for a query than for its key, on one device (`split_norm`) as on many.

Letters: N images of all processes, n of this one, K keys in the queue, D embedding, C channels.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from rewho.models.split_norm import average_statistics
from rewho.settings.pretrain import MomentumSchedule


class ProjectionHead(nn.Module):
    """What the contrast is measured behind: FC, ReLU, FC, length 1 (MoCo v2); thrown away after pre-training.

    Args:
        channels: Length C of the encoder's feature; also the width of the layer between.
        size: Length D of the projection; 128 in the paper.
        normalise: Follow both FC by batch normalisation, the second without weights (MoCo v3). What all images of a
            batch have in common is gone then, so that neither it nor its drift over time tells keys apart.

    Example:
        >>> ProjectionHead(512)(torch.randn(2, 512)).norm(dim=1).round(decimals=4).tolist()
        [1.0, 1.0]
    """

    def __init__(self, channels: int, size: int = 128, normalise: bool = False) -> None:
        super().__init__()
        norms = (nn.BatchNorm1d(channels), nn.BatchNorm1d(size, affine=False)) if normalise else ()
        self.layers = nn.Sequential(
            nn.Linear(channels, channels), *norms[:1], nn.ReLU(inplace=True), nn.Linear(channels, size), *norms[1:]
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C] to vectors of length 1, [N, D], in float32 or more."""
        projected: Tensor = self.layers(feature)
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)))


class KeyQueue(nn.Module):
    """The last K keys; new ones overwrite the oldest. K need not be a multiple of anything.

    The pointer is a tensor beside the keys, so that nothing has to wait for a GPU, and both are saved with the model.

    Args:
        length: K; 65,536 in the paper.
        size: Length D of a key.

    Example:
        >>> queue = KeyQueue(5, 2)
        >>> queue.enqueue(torch.ones(4, 2)); queue.enqueue(2 * torch.ones(3, 2))
        >>> queue.keys[:, 0].tolist(), int(queue.pointer)
        ([2.0, 2.0, 1.0, 1.0, 2.0], 2)
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, size)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put N keys [N, D] in; of more than K only the last K stay."""
        length, count = len(self.keys), len(keys)
        kept = keys[max(0, count - length) :].to(self.keys.dtype)
        places = torch.arange(count - len(kept), count, device=self.keys.device)
        self.keys.index_copy_(0, (self.pointer + places) % length, kept)
        self.pointer.copy_((self.pointer + count) % length)


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Move every parameter of the follower a little towards the leader's: m * own + (1 - m) * leader's (equation 2).

    Buffers, such as running statistics, are left alone: the follower's own images make them.

    Example:
        >>> leader, follower = nn.BatchNorm1d(2), nn.BatchNorm1d(2)  # weights of 1
        >>> _ = nn.init.zeros_(follower.weight)
        >>> follow(follower, leader, 0.75)
        >>> follower.weight.tolist()
        [0.25, 0.25]
    """
    own: list[Tensor] = list(follower.parameters())
    others: list[Tensor] = list(leader.parameters())
    torch._foreach_mul_(own, momentum)
    torch._foreach_add_(own, others, alpha=1 - momentum)


def _gathered(part: Tensor) -> Tensor:
    """Return the parts of all processes one after the other; without gradients."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return part
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def _own(whole: Tensor, count: int) -> Tensor:
    """Return this process's `count` rows of what all processes hold."""
    rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    return whole[rank * count : (rank + 1) * count]


def key_momentum(start: float, done: float, schedule: MomentumSchedule = "constant") -> float:
    """Return the key encoder's momentum after a share of the steps, a pure function of it.

    Args:
        start: The momentum of the first step.
        done: Share of all steps that were taken, 0 to 1.
        schedule: constant, or cosine: rises to 1 by half a cosine (MoCo v3).

    Raises:
        UserError: Another schedule.

    Example:
        >>> [round(key_momentum(0.99, done, "cosine"), 4) for done in (0, 0.5, 1)]
        [0.99, 0.995, 1.0]
    """
    if schedule == "constant":
        return start
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * done))


class Contrast(NamedTuple):
    """What InfoNCE compares.

    Attributes:
        queries: [n, D] of length 1, with gradients.
        keys: [n, D] of length 1: the other view of each query's image.
        queue: [K, D] of length 1: the queue before these keys went in.
        features: [n, C]: what the encoder said of the queries' images, before the projection; without gradients.
    """

    queries: Tensor
    keys: Tensor
    queue: Tensor
    features: Tensor


class MomentumContrast(nn.Module):
    """Query encoder, key encoder and queue (MoCo v2 as LUPerson uses it).

    Args:
        encoder: From images to features [N, C]; trained, and copied for the keys.
        channels: Length C of a feature.
        size: Length D of the projection.
        queue: Keys in the queue, K.
        momentum: Share of its own weights that the key encoder keeps at a step, 0 to 1; 0.999 in the paper.
        head_norm: Batch normalisation in the projection.

    Example:
        >>> contrast = MomentumContrast(nn.Linear(6, 12), 12, size=4, queue=7)
        >>> first, second = torch.randn(2, 5, 6)
        >>> [list(part.shape) for part in contrast(first, second, torch.rand(5))]
        [[5, 4], [5, 4], [7, 4], [5, 12]]
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        size: int = 128,
        queue: int = 65536,
        momentum: float = 0.999,
        head_norm: bool = False,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.encoder, self.projection = encoder, ProjectionHead(channels, size, head_norm)
        self.key_encoder, self.key_projection = copy.deepcopy((self.encoder, self.projection))
        for parameter in (*self.key_encoder.parameters(), *self.key_projection.parameters()):
            parameter.requires_grad_(False)
        self.queue = KeyQueue(queue, size)

    def forward(self, first: Tensor, second: Tensor, order: Tensor) -> Contrast:
        """Encode two views of this process's images; the keys of all processes go into the queue.

        While training the key encoder first takes its step towards the query encoder, the queue takes the keys, and
        the processes agree on the running statistics of both encoders.

        Args:
            first: n images: the queries.
            second: Other views of the same n images: the keys.
            order: [n] random numbers that came with the images; all processes' together, sorted, are the shuffle.
        """
        features: Tensor = self.encoder(first)
        queries: Tensor = self.projection(features)
        with torch.no_grad():
            if self.training:
                follow(self.key_encoder, self.encoder, self.momentum)
                follow(self.key_projection, self.projection, self.momentum)
            everyones = self._keys(second, order)
            before = self.queue.keys.clone()  # the backward pass still needs it when the new keys are in
            if self.training:
                self.queue.enqueue(everyones)
                average_statistics(self)
        return Contrast(queries, _own(everyones, len(first)), before, features.detach())

    def _keys(self, images: Tensor, order: Tensor) -> Tensor:
        """Return the keys [N, D] of all processes' images, each process encoding a shuffled part."""
        shuffle = _gathered(order).argsort()
        shuffled = _own(_gathered(images)[shuffle], len(images))
        if shuffled.ndim == 4:  # gathering lays the channels apart
            shuffled = shuffled.contiguous(memory_format=torch.channels_last)
        keys = _gathered(self.key_projection(self.key_encoder(shuffled)))
        return keys[shuffle.argsort()]
