"""Settings of `rewho adapt`; the defaults are SpCL's without labels (Ge et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import AugmentSettings, DataSettings
from rewho.settings.fields import Command, Mistake, Range, Share
from rewho.settings.model import ModelSettings
from rewho.settings.training import (
    CheckpointSettings,
    EvaluateEvery,
    OptimizerSettings,
    SamplerSettings,
    TrainingSettings,
)

RADIUS = 0.8
"""Largest Jaccard distance that is computed; above it images share nearly no neighbours."""
MOST_EPS = 0.7
"""Largest automatic eps."""
MemoryKind = Literal["hybrid", "centroid", "hard"]
Cameras = Literal["auto", "video", "folder", "unknown"]
Begin = Literal["auto", "network", "backbone"]


@dataclass(frozen=True)
class MemorySettings:
    """What embeddings are compared with, and the loss.

    Args:
        kind: hybrid (SpCL: clusters and single images), centroid (one vector per cluster; images in none are left out)
            or hard (the same, moved by the farthest image of a batch only).
        temperature: Divisor of the similarities.
        momentum: Share of the old vector in an update of the memory.
        floor: Added to every probability before the logarithm. SpCL's code adds 1e-6, which takes the gradient from
            the images that are farthest from their cluster; 0 is the plain loss.
        camera_weight: Weight each cluster's loss by the entropy of the cameras of its images in the batch (3C).
    """

    kind: MemoryKind = "hybrid"
    temperature: Annotated[float, Range(0.001, 10)] = 0.05
    momentum: Share = 0.2
    floor: Annotated[float, Range(0, 0.1)] = 1e-6
    camera_weight: bool = False


@dataclass(frozen=True)
class ClusterSettings:
    """How images without labels are clustered at the start of every epoch.

    Args:
        k1: Neighbours of the k-reciprocal sets.
        k2: Neighbours over which the sets are averaged.
        eps: Largest Jaccard distance of neighbours in DBSCAN; 0 is automatic: the largest up to 0.7 with 90 % of the
            most clusters that any gives in the first epoch. Its k-distance curve is drawn.
        eps_gap: Difference of the tighter and the looser eps, which tell reliable clusters.
        min_samples: Images within eps that make an image the core of a cluster, itself included.
        self_paced: Keep only images whose cluster is compact and independent (SpCL).
        of: memory (the vectors of the memory, as SpCL) or network (all images embedded again at every epoch).
        standardise_cameras: Give the embeddings of every camera mean 0 and deviation 1 before they are clustered.
        most_outliers: Stop if a larger share of the images is in no cluster.
    """

    k1: Annotated[int, Range(1, 10_000)] = 30
    k2: Annotated[int, Range(1, 10_000)] = 6
    eps: Annotated[float, Range(0, 0.78)] = 0.6
    eps_gap: Annotated[float, Range(0, 0.2)] = 0.02
    min_samples: Annotated[int, Range(2, 10_000)] = 4
    self_paced: bool = True
    of: Literal["memory", "network"] = "memory"
    standardise_cameras: bool = False
    most_outliers: Share = 0.95

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.k2 > self.k1:
            yield Mistake("k2", f"at most k1, which is {self.k1}", "Pass {at}k1 30 and {at}k2 6.")
        if self.eps and self.self_paced and not self.eps_gap < self.eps <= RADIUS - self.eps_gap:
            yield Mistake(
                "eps_gap",
                f"less than eps, which is {self.eps:g}, and with it at most {RADIUS}",
                "Pass {at}eps_gap 0.02.",
            )
        if not self.eps and self.self_paced and self.eps_gap > round(RADIUS - MOST_EPS, 6):
            expected = f"at most {RADIUS - MOST_EPS:.1g} with an automatic eps, which is {MOST_EPS} at most"
            yield Mistake("eps_gap", expected, "Pass {at}eps_gap 0.02.")


@dataclass(frozen=True)
class TargetSettings(DataSettings):
    """The images to adapt to, and how they are loaded.

    Args:
        root: Images without labels: a folder, a crop set, a CSV list, a gallery, or a data set's training part.
    """


@dataclass(frozen=True)
class SourceSettings(DataSettings):
    """The labelled data set to learn from as well, and how its images are loaded.

    Args:
        root: Folder of the data set, or a CSV file; empty is none.
    """

    root: Path | None = None  # type: ignore[assignment] # a training always has a data set


@dataclass(frozen=True)
class AdaptSettings(TrainingSettings):
    """Settings of `rewho adapt`.

    Args:
        out: Folder of the run, which becomes the model folder.
        data: Images to adapt to, without labels: a data set's training part, a folder, or a crop set. Labels are used
            to watch and to test only. Of a gallery, its thumbnails, under its judgements.
        cameras: Where the images' cameras come from: auto (a data set's or list's; a crop set's videos; none for a
            folder), video, folder (each sub-folder is a camera), or unknown, which ignores them.
        source: Labelled data set to learn from as well (domain adaptation).
        model: Network.
        begin: What initial weights from a model folder fill: network (all of it, with its head), backbone, or auto,
            which is network for what `rewho train` or `rewho distill` made, and backbone for an encoder.
        memory: Memory and loss.
        cluster: Clustering.
        group_identities: Identities per batch-normalisation group, each with `sampler.images_per_identity` images, on
            any number of devices; 0 normalises each device's batch as a whole.
        calibrate: Before the first clustering, give the batch normalisations that are new the statistics of the images.
            Without, the memory begins with embeddings of another kind than the training makes, which takes a visit to
            every image to be replaced.
        sampler: Batches of the target; a source adds as many images. Only `identities` is possible.
        augment: Augmentation.
        optimizer: Optimizer and learning rate.
        steps_per_epoch: Steps between two clusterings, which make an epoch.
    """

    command = Command(
        "adapt",
        "adapt a model to images without labels",
        "data.root",
        common="data.root out source.root model.backbone model.pretrained model.input_size begin epochs "
        "steps_per_epoch sampler.batch optimizer.learning_rate cluster.eps memory.kind cameras group_identities "
        "data.hold_out engine.device seed",
        examples=(
            "adapt images --recipe adapt/small --out runs/adapted",
            "adapt crops --recipe spcl/usl --init imagenet",
            "adapt crops --recipe adapt/fast --init runs/train --out runs/adapted",
            "adapt Market-1501 --recipe spcl/uda --init imagenet --source people",
            "adapt shop --out runs/shop-adapted",
        ),
        secondary="source",
        required="data.root",
    )

    out: Path = Path("runs/adapt")
    data: DataSettings = field(default_factory=TargetSettings)
    cameras: Cameras = "auto"
    source: SourceSettings = field(default_factory=SourceSettings)
    model: ModelSettings = field(
        default_factory=lambda: ModelSettings(backbone="resnet50", pooling="gap", head="bn", extra_bn="auto")
    )
    begin: Begin = "auto"
    memory: MemorySettings = field(default_factory=MemorySettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    group_identities: Annotated[int, Range(0)] = 4
    calibrate: bool = False
    sampler: SamplerSettings = field(default_factory=lambda: SamplerSettings("identities", 64, 4))
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(
            kind="adam", learning_rate=3.5e-4, schedule="steps", step_epochs=(20, 40)
        )
    )
    checkpoint: CheckpointSettings = field(default_factory=lambda: CheckpointSettings(spike_factor=0.0))
    epochs: Annotated[int, Range(1)] = 50
    steps_per_epoch: Annotated[int, Range(1)] = 400
    evaluate_every: EvaluateEvery = 10

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        yield from super().mistakes()
        if self.sampler.kind != "identities":
            yield Mistake("sampler.kind", "identities", "Leave it out: batches hold several images of each cluster.")
        if self.model.kind != "single_view":
            yield Mistake("model.kind", "single_view, which has one embedding", "Leave it out.")
        if self.memory.kind != "hybrid":
            if self.cluster.of == "memory":
                fix = "Pass {at}cluster.of network, or {at}memory.kind hybrid."
                yield Mistake("cluster.of", "network: only the hybrid memory holds every image", fix)
            if self.source.root is not None:
                yield Mistake("memory.kind", "hybrid beside a source", "Pass {at}memory.kind hybrid.")
        if self.calibrate and self.source.root is not None:
            yield Mistake("calibrate", "false beside a source", "Pass {at}calibrate false.")
        if self.cameras == "unknown":
            for name, wanted in (
                ("memory.camera_weight", self.memory.camera_weight),
                ("cluster.standardise_cameras", self.cluster.standardise_cameras),
            ):
                if wanted:
                    yield Mistake(name, "false where the cameras are unknown", "Leave out {at}cameras unknown.")
        for name in ("share", "share_list"):
            if getattr(self.data, name) != getattr(DataSettings(), name):
                yield Mistake(f"data.{name}", "no share: it selects people by their labels", "Leave it out.")
