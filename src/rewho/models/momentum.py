"""Momentum contrast: an encoder, its momentum (EMA) copy and a queue of that copy's keys (LUPerson section 4.1).

The batch is shuffled for the key encoder by random numbers that came with the images, not by a draw of its own. So any
number of processes shuffle alike, a resumed run shuffles as the uninterrupted one did, and a query shares its batch
normalisation with other images than its key does, on one device (`split_norm`) as on many.

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
    """Projection before the contrastive loss: FC, ReLU, FC, length 1 (MoCo v2); dropped after pre-training.

    `normalise` adds batch normalisation behind both FC, the second without weights (MoCo v3). It removes what all
    images of a batch have in common, so that neither that nor its drift over time tells keys apart.
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
    """The last K keys; new ones overwrite the oldest. K need not be a multiple of the batch.

    If `tracked`, the number of each key's track is kept and saved with it; -1 for the random keys of the beginning.

    The pointer is a tensor, so that the CPU need not wait for the GPU; it is saved with the keys.
    """

    keys: Tensor
    pointer: Tensor
    tracks: Tensor | None

    def __init__(self, length: int, size: int, tracked: bool = False) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, size)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("tracks", torch.full((length,), -1) if tracked else None)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, tracks: Tensor | None = None) -> None:
        """Append N keys [N, D] with the numbers of their tracks [N], if known; of more than K only the last K stay."""
        length, count = len(self.keys), len(keys)
        kept = keys[max(0, count - length) :].to(self.keys.dtype)
        places = torch.arange(count - len(kept), count, device=self.keys.device)
        where = (self.pointer + places) % length
        self.keys.index_copy_(0, where, kept)
        if self.tracks is not None:
            assert tracks is not None, "a queue of tracked keys needs every key's track"
            self.tracks.index_copy_(0, where, tracks[max(0, count - length) :])
        self.pointer.copy_((self.pointer + count) % length)


@torch.no_grad()
def update_ema(copied: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move every parameter of a copy towards the network's: m * own + (1 - m) * the network's (equation 2).

    Buffers, such as running statistics, are left alone: the copy's own images make them.
    """
    own: list[Tensor] = list(copied.parameters())
    others: list[Tensor] = list(network.parameters())
    torch._foreach_mul_(own, momentum)
    torch._foreach_add_(own, others, alpha=1 - momentum)


def gather(part: Tensor) -> Tensor:
    """Concatenate the tensors of all processes; without gradients."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return part
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def _own_rows(whole: Tensor, count: int) -> Tensor:
    """Return this process's `count` rows of a gathered tensor."""
    rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    return whole[rank * count : (rank + 1) * count]


def key_momentum(start: float, done: float, schedule: MomentumSchedule = "constant") -> float:
    """Return the key encoder's momentum, 0 to 1, at a point of the training.

    Args:
        start: The momentum of the first step.
        done: Share of the steps that are done, 0 to 1.
        schedule: constant, or cosine: rises to 1 by half a cosine (MoCo v3).

    Example:
        >>> [round(key_momentum(0.99, done, "cosine"), 4) for done in (0, 0.5, 1)]
        [0.99, 0.995, 1.0]
    """
    if schedule == "constant":
        return start
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * done))


class Contrast(NamedTuple):
    """Arguments of InfoNCE, and the features for statistics.

    Attributes:
        queries: [n, D] of length 1, with gradients.
        keys: [n, D] of length 1: the other view of each query's image.
        queue: [K, D] of length 1: the queue before these keys went in.
        features: [n, C]: the encoder's features of the queries' images, before the projection; without gradients.
        related: bool [n, K]: keys of the queue that are of the query's own track; None if tracks are not used.
    """

    queries: Tensor
    keys: Tensor
    queue: Tensor
    features: Tensor
    related: Tensor | None = None


class MomentumContrast(nn.Module):
    """Query encoder, key encoder and queue (MoCo v2 as LUPerson uses it).

    Args:
        encoder: From images to features [N, C]; trained, and copied for the keys.
        channels: Length C of a feature.
        size: Length D of the projection.
        queue: Keys in the queue, K.
        momentum: Share of its own weights that the key encoder keeps at a step, 0 to 1; 0.999 in the paper.
        head_norm: Batch normalisation in the projection.
        tracked: Keep the track of every key.

    Example:
        >>> contrast = MomentumContrast(nn.Linear(6, 12), 12, size=4, queue=7)
        >>> first, second = torch.randn(2, 5, 6)
        >>> [list(part.shape) for part in contrast(first, second, torch.rand(5))[:4]]
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
        tracked: bool = False,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.encoder, self.projection = encoder, ProjectionHead(channels, size, head_norm)
        self.key_encoder, self.key_projection = copy.deepcopy((self.encoder, self.projection))
        for parameter in (*self.key_encoder.parameters(), *self.key_projection.parameters()):
            parameter.requires_grad_(False)
        self.queue = KeyQueue(queue, size, tracked)

    def forward(self, first: Tensor, second: Tensor, order: Tensor, tracks: Tensor | None = None) -> Contrast:
        """Encode two views of this process's images.

        While training, the key encoder is first updated, the keys of all processes enter the queue, and the running
        statistics of both encoders are averaged over the processes.

        Args:
            first: n images, the queries.
            second: Other views of the same n images, the keys.
            order: [n] random numbers that came with the images; sorting those of all processes gives the shuffle.
            tracks: int64 [n], the track of each image; used if the queue is `tracked`.
        """
        features: Tensor = self.encoder(first)
        queries: Tensor = self.projection(features)
        with torch.no_grad():
            if self.training:
                update_ema(self.key_encoder, self.encoder, self.momentum)
                update_ema(self.key_projection, self.projection, self.momentum)
            all_keys = self._encode_keys(second, order)
            before = self.queue.keys.clone()  # the backward pass needs the queue without the new keys
            related = None
            if self.queue.tracks is not None and tracks is not None:
                related = tracks[:, None] == self.queue.tracks[None]
            if self.training:
                self.queue.enqueue(all_keys, gather(tracks) if related is not None and tracks is not None else None)
                average_statistics(self)
        return Contrast(queries, _own_rows(all_keys, len(first)), before, features.detach(), related)

    def _encode_keys(self, images: Tensor, order: Tensor) -> Tensor:
        """Return the keys [N, D] of all processes' images; each process encodes a shuffled part."""
        shuffle = gather(order).argsort()
        shuffled = _own_rows(gather(images)[shuffle], len(images))
        if shuffled.ndim == 4:  # gathering loses the channels-last layout
            shuffled = shuffled.contiguous(memory_format=torch.channels_last)
        keys = gather(self.key_projection(self.key_encoder(shuffled)))
        return keys[shuffle.argsort()]
