"""Batches of clusters: several images of each, from other cameras where there are some.

The sampler of SpCL's code, with one addition: images that are alone in their class come in groups as large as a
cluster's, so that no cluster is cut in two where a batch, or a group of batch normalisation, ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from rewho.core.check import UserError
from rewho.data.batches import Plan
from rewho.settings import SamplerSettings


def plan_clusters(
    settings: SamplerSettings,
    labels: NDArray[np.int64],
    cameras: NDArray[np.int64],
    steps: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the rows of an epoch's batches, [steps, batch]; each pass over the classes has its own order.

    A pass takes from every class a random image and K - 1 more. These show other cameras than the first image, or any
    camera if the class has only one; images repeat if there are too few. A class of one image gives that image once a
    pass; K such images fill the place of one class.

    Args:
        settings: Batch size and K.
        labels: int64 [N], class of every image; negative ones are left out.
        cameras: int64 [N]; equal numbers for unknown cameras make no difference between images.
        steps: Batches of the epoch.
        random: Draws everything.

    Example:
        >>> random, settings = np.random.default_rng(1), SamplerSettings("identities", batch=4, images_per_identity=2)
        >>> plan_clusters(settings, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), 2, random).shape
        (2, 4)
    """
    size = settings.images_per_identity
    per_batch = settings.batch // size
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
    if sum(len(group) > 1 for group in groups) < 2:
        got = f"{sum(len(group) > 1 for group in groups)}"
        fix = "Raise --cluster.eps, or lower --cluster.min_samples."
        raise UserError("clusters to train on", expected="2 or more with several images", got=got, fix=fix)
    units: list[NDArray[np.int64]] = []
    singles: list[int] = []
    while len(units) < steps * per_batch:
        for number in random.permutation(len(groups)):
            group = groups[number]
            if len(group) > 1:
                units.append(_draw_images(group, cameras[group], size, random))
                continue
            singles.append(int(group[0]))
            if len(singles) == size:
                units.append(np.array(singles))
                singles = []
    return np.concatenate(units[: steps * per_batch]).reshape(steps, settings.batch)


def _draw_images(
    rows: NDArray[np.int64], cameras: NDArray[np.int64], size: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return a random row of a class and `size` - 1 more, of other cameras than the first where there are any."""
    first = int(random.integers(len(rows)))
    others = np.flatnonzero(cameras != cameras[first])
    if not len(others):
        others = np.delete(np.arange(len(rows)), first)
    drawn = random.choice(others, size - 1, replace=len(others) < size - 1)
    places: NDArray[np.int64] = np.r_[first, drawn].astype(np.int64)
    return rows[places]


def take_turns(source: NDArray[np.int64], target: NDArray[np.int64], group: int) -> NDArray[np.int64]:
    """Return batches [steps, 2 B] in which `group` images of the source and as many of the target take turns.

    Example:
        >>> take_turns(np.array([[1, 2, 3, 4]]), np.array([[5, 6, 7, 8]]), 2).tolist()
        [[1, 2, 5, 6, 3, 4, 7, 8]]
    """
    steps, batch = target.shape
    parts = [rows.reshape(steps, batch // group, group) for rows in (source, target)]
    return np.stack(parts, axis=2).reshape(steps, 2 * batch)


@dataclass(frozen=True)
class ClusterPlans(Sampler[Plan]):
    """The batches of one epoch, from any step on.

    Args:
        settings: Sampler and size of the batches.
        batches: int64 [steps, batch], rows of each.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        start: Batches to skip.
    """

    settings: SamplerSettings
    batches: NDArray[np.int64]
    seed: int
    epoch: int
    start: int = 0

    def __len__(self) -> int:
        return len(self.batches) - self.start

    def __iter__(self) -> Iterator[Plan]:
        for step in range(self.start, len(self.batches)):
            yield Plan(self.epoch, step, self.batches[step])
