"""Adaptation to images without labels: batches, the task with its memory, and what happens between epochs.

At the start of an epoch the images are clustered by the vectors of the memory, or embedded again before. Labels, memory
and thresholds are buffers of the task, so that a checkpoint holds them and a resumed run draws the same batches.

Letters: N target images, S source classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.check import check_embeddings
from rewho.core.people import FEW_PEOPLE
from rewho.core.progress import Progress, note_once, say
from rewho.core.runtime import StopRequest, generator, is_main_process, on_main_process
from rewho.core.text import quantity
from rewho.data.augment import apply, resize
from rewho.data.batches import Part, Plan, load_batches
from rewho.data.cluster_batches import ClusterPlans, plan_clusters, take_turns
from rewho.data.draws import draw
from rewho.data.views import View
from rewho.embedding.embedder import embed_batches
from rewho.embedding.images import in_batches
from rewho.embedding.runtime import Runner
from rewho.losses.prototypes import camera_weights, prototype_loss
from rewho.models.domain_norm import split_domains
from rewho.models.hybrid_memory import DROPPED, HybridMemory
from rewho.models.momentum import gather
from rewho.models.single_view import SingleViewModel
from rewho.models.split_norm import SplitBatchNorm, average_statistics, split_batch_norm
from rewho.settings import AdaptSettings
from rewho.tasks.pseudo_labels import PseudoLabels, figure_names, make_labels
from rewho.tasks.target import Source, Target, join
from rewho.tasks.unlabelled import JoinedImages
from rewho.training.log import read_log

EMBEDDED_AT_ONCE = 128
CALIBRATED_ON = 2048
"""Images whose statistics a new batch normalisation begins with."""
RISING = 0.1
"""Rise of the mutual information of clusters and cameras since the first epoch that is warned of."""


class AdaptBatch(NamedTuple):
    """One process's part of a batch: uint8 RGB [N, 3, h, w], channels last in memory.

    `places` is int64 [N], row of the memory (source classes first); `weights` is float64 [N], with the mean 1 over the
    target's images of the whole batch; `rows` is int64 [N], row of the image.
    """

    images: Tensor
    places: Tensor
    weights: Tensor
    rows: Tensor


class AdaptPreparation:
    """Makes the batches of one epoch from plans, in worker processes; `mean_colour` is RGB, 0 to 255."""

    def __init__(
        self,
        images: JoinedImages,
        places: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
        view: View,
        settings: AdaptSettings,
        mean_colour: tuple[float, ...],
    ) -> None:
        self.images, self.places, self.weights, self.view = images, places, weights, view
        self.augment, self.seed, self.mean_colour = settings.augment, settings.seed, mean_colour

    def __call__(self, plan: Plan, part: Part) -> AdaptBatch:
        """Return one process's part of a planned batch; random numbers are drawn for the whole batch."""
        random = generator(self.seed, "augment", plan.epoch, plan.step)
        draws = draw(self.augment, len(plan.rows), self.view.size, random)[part]
        rows = np.ascontiguousarray(plan.rows[part])
        done = apply(
            mask_images(self.images, rows, self.view, self.mean_colour),
            self.view,
            draws,
            self.augment,
            self.mean_colour,
        )
        weights = np.ones(len(rows)) if self.weights is None else self.weights[plan.step][part]
        return AdaptBatch(
            torch.from_numpy(done.images).permute(0, 3, 1, 2),
            torch.from_numpy(self.places[rows]),
            torch.from_numpy(np.ascontiguousarray(weights)),
            torch.from_numpy(rows),
        )


def mask_images(
    images: JoinedImages, rows: Sequence[int] | NDArray[np.int64], view: View, colour: tuple[float, ...]
) -> list[NDArray[np.uint8]]:
    """Return images with what the view hides masked."""
    return [view.masked(images[int(row)], images.name(int(row)), colour) for row in rows]


class AdaptTask(nn.Module):
    """A model, its memory and the contrastive loss between them, called by the training loop."""

    figures: Tensor
    eps: Tensor
    threshold: Tensor

    def __init__(
        self, model: SingleViewModel, settings: AdaptSettings, target: Target, classes: int, group: int
    ) -> None:
        super().__init__()
        self.settings, self.model, self.sources = settings.memory, model, classes
        whole = settings.group_identities == 0 and not classes  # then a group is the batch of one device
        fix = "With --source," if classes else "Pass --group_identities 0, or"
        split_batch_norm(model, group, leave_others=whole, fix=fix)
        self.source_norms = split_domains(model) if classes else nn.ModuleList()
        memory = settings.memory
        self.memory = HybridMemory(len(target.images), model.settings.embedding, classes, memory.kind, memory.momentum)
        self.names = figure_names(cameras=target.known_cameras > 1, identities=target.identities is not None)
        self.register_buffer("figures", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("eps", torch.tensor(float("nan"), dtype=torch.float64))
        self.register_buffer("threshold", torch.tensor(float("nan"), dtype=torch.float64))

    def forward(self, batch: AdaptBatch) -> dict[str, Tensor]:
        """Return `total`, the loss of a batch (the target's plus the source's), and the figures of the clusters.

        In training mode, the memory is updated afterwards with the embeddings of all processes.
        """
        settings = self.settings
        embeddings = F.normalize(self.model(batch.images).float())
        prototypes, targets = self.memory.prototypes(), self.memory.targets(batch.places)
        terms: dict[str, Tensor] = {}
        of_source = batch.places < self.sources
        for name, chosen in (("source", of_source), ("target", ~of_source))[0 if self.sources else 1 :]:
            weights = batch.weights[chosen] if name == "target" and settings.camera_weight else None
            terms[name] = prototype_loss(
                embeddings[chosen],
                prototypes,
                targets[chosen],
                settings.temperature,
                floor=settings.floor,
                weights=weights,
            )
        total = torch.stack(list(terms.values())).sum()
        if self.training:
            self.memory.update(embeddings, batch.places)
            average_statistics(self)
        figures = dict(zip(self.names, self.figures.unbind(), strict=True))
        return {"total": total, **(terms if self.sources else {}), **figures}

    @torch.no_grad()
    def begin_epoch(self, found: PseudoLabels, embeddings: Tensor | None, centres: Tensor | None) -> None:
        """Take over the clusters of an epoch; `embeddings` [N, D] replace the memory's vectors, None keeps them."""
        labels = torch.from_numpy(found.labels).to(self.memory.labels.device)
        if embeddings is None:
            self.memory.set_labels(labels)
        else:
            self.memory.fill(embeddings, labels, centres)
        self.eps.fill_(found.eps)
        self.threshold.fill_(found.threshold)
        self.figures.copy_(torch.tensor([found.figures[name] for name in self.names], dtype=torch.float64))


class Epochs:
    """The batches of a training, with the clustering at the start of each epoch.

    Args:
        task: The task; its memory is filled here.
        target: Images to adapt to.
        source: Labelled images; None without.
        view: What the network sees of an image.
        settings: All settings.
        group: Images that take turns with as many of the source.
        draw: Called with the k-distance curve, its bend and eps where clusters are no good.
        keep: Called with the number and the labels of every epoch, in the main process.
    """

    def __init__(
        self,
        task: AdaptTask,
        target: Target,
        source: Source | None,
        view: View,
        settings: AdaptSettings,
        group: int,
        draw: Callable[[NDArray[np.float32], float, float], object],
        keep: Callable[[int, PseudoLabels], object],
    ) -> None:
        self.task, self.target, self.source, self.view = task, target, source, view
        self.settings, self.group, self.draw, self.keep = settings, group, draw, keep
        self.images = join(target, source)
        classes = source.classes if source else 0
        self.places = np.arange(classes, classes + len(target.images))
        if source is not None:
            self.places = np.r_[self.places, source.labels]
        self.colour = tuple(task.model.mean.tolist())

    def batches(self, start: int, rank: int, world: int, pin: bool) -> Iterator[tuple[Tensor, ...]]:
        """Yield this process's batches from step `start` on."""
        length = self.settings.steps_per_epoch
        for epoch in range(start // length, self.settings.epochs):
            first = start - epoch * length if epoch == start // length else 0
            if first == 0:
                if epoch == 0 and self.settings.calibrate:
                    self._calibrate()
                self._begin(epoch, rank, world)
            plans, weights = self._plan(epoch, first)
            prepare = AdaptPreparation(self.images, self.places, weights, self.view, self.settings, self.colour)
            workers = self.settings.data.workers
            yield from load_batches(plans, prepare, workers=workers, rank=rank, world=world, pin=pin)

    def _begin(self, epoch: int, rank: int, world: int) -> None:
        """Embed the images where that is due, cluster them, and fill the memory."""
        task, cluster, images = self.task, self.settings.cluster, len(self.target.images)
        fresh = epoch == 0 or cluster.of == "network"
        embeddings = self._embed(np.arange(images), rank, world) if fresh else None
        centres = self._source_centres(rank, world) if epoch == 0 and self.source is not None else None
        vectors = task.memory.target_vectors if embeddings is None else embeddings

        def make() -> PseudoLabels:
            return make_labels(
                vectors.cpu().numpy(),
                self.target.cameras,
                self.target.identities,
                cluster,
                drop=self.settings.memory.kind != "hybrid",
                eps=None if epoch == 0 else float(task.eps),
                threshold=None if epoch == 0 else float(task.threshold),
                draw=self.draw,
                known=self.target.known,
            )

        found = on_main_process(make)
        task.begin_epoch(found, embeddings, centres)
        if is_main_process():
            self.keep(epoch, found)
            say(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.figures.items()))
            if epoch == 0 and (clusters := round(found.figures["clusters"])) < FEW_PEOPLE:
                what = f"only {quantity(clusters, 'clusters')} of {quantity(images, 'images')}"
                say(f"warning: {what}: enough to try the commands, too few to learn what can be measured")

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Set the running statistics of the batch normalisations outside the backbone to those of some images.

        Every process computes them from all of these images: there may be fewer batches than processes.
        """
        model, device = self.task.model, self.task.memory.vectors.device
        norms = [part for new in model.new_parts() for part in new.modules() if isinstance(part, SplitBatchNorm)]
        rows = generator(self.settings.seed, "calibrate").permutation(len(self.target.images))[:CALIBRATED_ON]
        groups = min(len(rows) // self.group, max(1, EMBEDDED_AT_ONCE // self.group))
        if not norms or not groups:
            say(f"nothing to calibrate: {len(norms)} new batch normalisations, {len(rows):,} images")
            return
        starts = range(0, len(rows) - groups * self.group + 1, groups * self.group)
        batches = [rows[at : at + groups * self.group] for at in starts]
        usual = [norm.momentum for norm in norms]
        model.eval()
        for number, part in enumerate(batches):
            for norm in norms:
                norm.train().momentum = 1 / (number + 1)  # the mean over the batches so far
            pixels = resize(mask_images(self.images, part, self.view, self.colour), self.view)
            SingleViewModel.forward(model, torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum

    def _embed(self, rows: NDArray[np.int64], rank: int, world: int) -> Tensor:
        """Return the network's embeddings of images, of length 1, [rows, D]; processes share the work."""
        # Process r embeds rows r, r + world, …; the exchange needs equal counts, so some processes repeat a row.
        own = rows[rank::world]
        padded = np.r_[own, np.repeat(own[:1] if len(own) else rows[:1], -(-len(rows) // world) - len(own))]
        model, device = self.task.model, self.task.memory.vectors.device
        progress = Progress("embed", len(padded), unit="images")
        pixels = (
            resize(mask_images(self.images, part, self.view, self.colour), self.view)
            for part in in_batches(padded.tolist(), EMBEDDED_AT_ONCE)
        )
        parts = []
        model.eval()
        first = next(pixels)
        network = Runner(model, device, wanted="auto", note=note_once).network(len(padded), first)
        with StopRequest() as stop:
            for vectors in embed_batches(network, chain([first], pixels), device, flip=False):
                parts.append(torch.from_numpy(vectors))
                progress.advance(len(vectors))
                stop.end_if_wanted("the steps before this epoch")
        progress.close()
        everyone = gather(F.normalize(torch.cat(parts)).to(device))
        # [process, row of the process, D] → the order of `rows`; what was repeated is at the end.
        in_order: Tensor = everyone.reshape(world, -1, everyone.shape[1]).transpose(0, 1).flatten(0, 1)
        found = in_order[: len(rows)]
        if not (found.isfinite().all() and found.any(dim=1).all()):
            check_embeddings("image", found.cpu().numpy(), [self.images.name(int(row)) for row in rows])
        return found

    def _source_centres(self, rank: int, world: int) -> Tensor:
        """Return the mean embedding of each person of the source, of length 1, [classes, D]."""
        assert self.source is not None
        rows = len(self.target.images) + np.arange(len(self.source.images))
        embeddings = self._embed(rows, rank, world)
        labels = torch.from_numpy(self.source.labels).to(embeddings.device)
        sums = torch.zeros(self.source.classes, embeddings.shape[1], device=embeddings.device)
        return F.normalize(sums.index_add_(0, labels, embeddings))

    def _plan(self, epoch: int, first: int) -> tuple[ClusterPlans, NDArray[np.float64] | None]:
        """Return the batches of an epoch, and the weight of every image in them by its cluster's cameras."""
        settings, classes = self.settings, self.task.sources
        labels = self.task.memory.labels[classes:].cpu().numpy()
        sampler, steps = settings.sampler, settings.steps_per_epoch
        random = generator(settings.seed, "cluster sampler", epoch)
        batches = plan_clusters(sampler, labels, self.target.cameras, steps, random)
        weights = None
        if settings.memory.camera_weight:
            weights = np.stack([self._camera_weights(labels[rows], self.target.cameras[rows]) for rows in batches])
        if self.source is not None:
            random = generator(settings.seed, "source sampler", epoch)
            others = plan_clusters(sampler, self.source.labels, self.source.cameras, steps, random)
            batches = take_turns(others + len(self.target.images), batches, self.group)
            if weights is not None:
                weights = _with_ones(weights, self.group)
            sampler = replace(sampler, batch=2 * sampler.batch)
        return ClusterPlans(sampler, batches, settings.seed, epoch, first), weights

    @staticmethod
    def _camera_weights(labels: NDArray[np.int64], cameras: NDArray[np.int64]) -> NDArray[np.float64]:
        assert (labels != DROPPED).all()
        weights: NDArray[np.float64] = camera_weights(torch.from_numpy(labels), torch.from_numpy(cameras)).numpy()
        return weights


def _with_ones(weights: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    """Return weights [steps, 2 B] for batches in the order of `take_turns`, given the target's [steps, B].

    Images of the source have the weight 1.
    """
    steps, batch = weights.shape
    parts = weights.reshape(steps, batch // group, group)
    return np.stack([np.ones_like(parts), parts], axis=2).reshape(steps, 2 * batch)


class CameraWatch:
    """Warns if clusters follow the cameras more from epoch to epoch, as the log in a run's folder has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, step: int, means: Mapping[str, float]) -> None:
        """Compare an epoch's mean figures with those of the first epoch."""
        rows = epoch_rows(self.folder)
        first = rows[0].get("camera_nmi") if rows else None
        now = means.get("camera_nmi")
        # Where people are known, warn only if clusters share more information with cameras than with people.
        if first is not None and now is not None and now - first > RISING and now > means.get("nmi", 0.0):
            say(
                f"warning: clusters follow cameras more and more (mutual information {first:.2f} at first, {now:.2f} "
                f"now, step {step:,}): pass --cluster.standardise_cameras true, or --memory.camera_weight true"
            )


def epoch_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines about epochs of a run's log, with the means' names shortened."""
    rows = [row for row in read_log(folder) if "epoch" in row]
    return [{name.removeprefix("epoch_"): value for name, value in row.items() if name != "step"} for row in rows]
