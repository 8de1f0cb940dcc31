"""The memory that adaptation compares embeddings with: source classes, clusters and single images.

One module for three ways. `hybrid` (SpCL, Ge et al., NeurIPS 2020) keeps every target image and takes a cluster's mean
whenever it is needed; images in no cluster are classes of their own. `centroid` (Cluster-Contrast, Dai et al., 2021)
keeps one vector per cluster, moved by each of its images in a batch; `hard` moves it by the batch's farthest only.

A prototype is computed from the memory at every step instead of being kept up to date: its sums would differ in the
last bits after a resume.

Letters: N target images, S source classes, M = S + N rows of the memory, C prototypes, D embedding, B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.models.momentum import gather
from rewho.settings.adapt import MemoryKind

DROPPED = -1
"""Label of a target image that is not trained on."""


class HybridMemory(nn.Module):
    """Vectors of length 1 and the class of each.

    Args:
        images: Number N of target images.
        size: Length D of an embedding.
        sources: Number S of source classes, which are the first rows and the first classes.
        kind: hybrid, centroid or hard.
        momentum: Share of the old vector in an update, 0 to 1; then the length is made 1.

    Example:
        >>> memory = HybridMemory(images=3, size=2)
        >>> memory.fill(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 1, 1]))
        >>> memory.prototypes()
        tensor([[1., 0.],
                [0., 1.]])
    """

    vectors: Tensor
    labels: Tensor
    classes: Tensor

    def __init__(
        self, images: int, size: int, sources: int = 0, kind: MemoryKind = "hybrid", momentum: float = 0.2
    ) -> None:
        super().__init__()
        self.images, self.sources, self.kind, self.momentum = images, sources, kind, momentum
        self.register_buffer("vectors", torch.zeros(sources + images, size))
        self.register_buffer("labels", torch.arange(sources + images))
        self.register_buffer("classes", torch.tensor(sources + images))

    @property
    def target_vectors(self) -> Tensor:
        """The vectors of the target images, [N, D]; of hybrid only."""
        return self.vectors[self.sources :]

    @torch.no_grad()
    def fill(self, embeddings: Tensor, labels: Tensor, source_centres: Tensor | None = None) -> None:
        """Begin an epoch with new vectors.

        Args:
            embeddings: [N, D] of all target images.
            labels: int64 [N], -1 for images that are dropped; see `set_labels`.
            source_centres: [S, D]; None leaves those of the memory.
        """
        if source_centres is not None:
            self.vectors[: self.sources] = F.normalize(source_centres.to(self.vectors))
        units = F.normalize(embeddings.to(self.vectors))
        self.set_labels(labels)
        if self.kind == "hybrid":
            self.vectors[self.sources :] = units
            return
        kept = self.labels[self.sources :] != DROPPED
        means = _class_means(units[kept], self.labels[self.sources :][kept] - self.sources, self._clusters())
        self.vectors[self.sources :] = 0
        self.vectors[self.sources : self.sources + len(means)] = F.normalize(means)

    @torch.no_grad()
    def set_labels(self, labels: Tensor) -> None:
        """Set the class of every target image, int64 [N], -1 for dropped ones; numbers without an image close up."""
        kept = labels != DROPPED
        known, own = labels[kept].unique(return_inverse=True)  # type: ignore[no-untyped-call]
        if labels.shape != (self.images,) or not len(known):
            got = f"{[*labels.shape]} with {len(known)} classes"
            raise UserError(
                "labels of the memory", expected=f"{self.images}, of some class", got=got, fix="Cluster again."
            )
        moved = torch.full_like(self.labels[self.sources :], DROPPED)
        moved[kept.to(moved.device)] = self.sources + own.to(moved)
        self.labels[self.sources :] = moved
        self.classes.fill_(self.sources + len(known))

    def _clusters(self) -> int:
        return int(self.classes) - self.sources

    @torch.no_grad()
    def prototypes(self) -> Tensor:
        """Return the vector of every class, [C, D]: of hybrid the mean of its rows."""
        if self.kind == "hybrid":
            return _class_means(self.vectors, self.labels, int(self.classes))
        return self.vectors[: int(self.classes)].clone()

    def targets(self, rows: Tensor) -> Tensor:
        """Return the class of rows of the memory, int64 [B]; source classes are rows 0 to S - 1."""
        return self.labels[rows]

    @torch.no_grad()
    def update(self, embeddings: Tensor, rows: Tensor) -> None:
        """Move vectors towards the embeddings of all processes, in the batch's order, repeats one after the other.

        Args:
            embeddings: [B, D] of this process, of length 1.
            rows: int64 [B], row of each image in the memory.
        """
        embeddings, rows = gather(embeddings.detach().to(self.vectors.dtype)), gather(rows)
        places = rows if self.kind == "hybrid" else self.labels[rows]
        if self.kind == "hard":
            embeddings, places = self._farthest(embeddings, places)
        for turn in _turns(places):
            moved = self.momentum * self.vectors[places[turn]] + (1 - self.momentum) * embeddings[turn]
            self.vectors[places[turn]] = moved / moved.norm(dim=1, keepdim=True)

    def _farthest(self, embeddings: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding that is least similar to its cluster's vector, for each cluster of a batch."""
        similar = (embeddings * self.vectors[places]).sum(dim=1)
        order = similar.argsort(stable=True)
        order = order[places[order].argsort(stable=True)]
        first = torch.ones(len(order), dtype=torch.bool, device=order.device)
        first[1:] = places[order][1:] != places[order][:-1]
        chosen = order[first]
        return embeddings[chosen], places[chosen]


def _class_means(vectors: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean vector of every class, [C, D]; zero for a class without any."""
    sums = torch.zeros(classes, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
    sums.index_add_(0, labels, vectors)
    return sums / torch.bincount(labels, minlength=classes).clamp(min=1)[:, None]


def _turns(places: Tensor) -> list[Tensor]:
    """Return indices of a batch in groups without a place twice; the n-th group has the n-th images of places."""
    order = places.argsort(stable=True)
    ranked = places[order]
    start = torch.ones(len(order), dtype=torch.bool, device=places.device)
    start[1:] = ranked[1:] != ranked[:-1]
    position = torch.arange(len(order), device=places.device)
    first = torch.cummax(torch.where(start, position, 0), dim=0).values
    turn = torch.empty_like(order)
    turn[order] = position - first
    return [torch.nonzero(turn == number)[:, 0] for number in range(int(turn.max()) + 1)] if len(order) else []
