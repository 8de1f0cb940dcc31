"""Settings that every training shares, and those of `rewho train`.

The defaults are the paper preset of Factorized Distillation's initial student (FD section 4.1, table 2) where the paper
gives a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import AugmentSettings, DataSettings
from rewho.settings.fields import Command, Device, Mistake, Processes, Range, Seed, Share
from rewho.settings.model import LossSettings, ModelSettings

Schedule = Literal["halve", "steps", "cosine", "constant"]
Precision = Literal["auto", "32", "tf32", "bf16", "fp16"]
AtLeastZero = Annotated[float, Range(0)]
LEAST_OF_SGD = 0.001  # no recipe with sgd is below 0.0025; with Adam 0.00035 is the usual one
EvaluateEvery = Annotated[int, Range(-1)]


@dataclass(frozen=True)
class SamplerSettings:
    """How training images are grouped into batches.

    Args:
        kind: shuffle (each image once per epoch) or identities (P x K: `batch / images_per_identity` identities with
            K images each; every identity at least once per epoch).
        batch: Images per optimizer step, over all devices.
        images_per_identity: K of the identities sampler.
        accumulate: Forward passes per batch; their gradients are added.
    """

    kind: Literal["shuffle", "identities"] = "shuffle"
    batch: Annotated[int, Range(2)] = 32
    images_per_identity: Annotated[int, Range(1)] = 4
    accumulate: Annotated[int, Range(1)] = 1

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        each = self.images_per_identity
        if self.kind == "identities" and (self.batch % each or self.batch < 2 * each):
            expected = f"P x images_per_identity, which is {each}, with P from 2"
            yield Mistake("batch", expected, "Pass {at}batch 32 and {at}images_per_identity 4.")
        if self.batch % self.accumulate or self.batch < 2 * self.accumulate:
            expected = f"a divisor of the batch of {self.batch}, and 2 or more images a forward pass"
            yield Mistake("accumulate", expected, "Choose a batch that is a multiple of {at}accumulate.")


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and learning-rate schedule (FD section 4.1).

    Args:
        kind: sgd, adam, or adamw (Adam with decoupled weight decay).
        learning_rate: Initial learning rate, after warm-up.
        momentum: Momentum of SGD.
        nesterov: Use Nesterov momentum with SGD.
        weight_decay: Weight decay of all weights, as in the paper.
        head_factor: Learning-rate factor of all layers outside the backbone.
        schedule: halve (multiply by 0.5 every `halve_every` epochs), steps (multiply by `step_factor` at each of
            `step_epochs`), cosine (to zero) or constant.
        halve_every: Epochs between two halvings, for `halve`.
        step_epochs: Epochs at which the learning rate drops, for `steps`.
        step_factor: Factor of each drop, for `steps`.
        flat_epochs: Epoch at which `cosine` starts to fall; 0 is the end of the warm-up.
        warmup_epochs: Epochs of linear warm-up from zero; may be a fraction.
        freeze_epochs: Freeze the pre-trained layers (weights and BN statistics) for this many initial epochs; randomly
            initialised layers always train.
    """

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: AtLeastZero = 0.0025
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: AtLeastZero = 5e-4
    head_factor: AtLeastZero = 1.0
    schedule: Schedule = "halve"
    halve_every: Annotated[float, Range(0, above=True)] = 20.0
    step_epochs: Annotated[tuple[float, ...], Range(0)] = ()
    step_factor: AtLeastZero = 0.1
    flat_epochs: AtLeastZero = 0.0
    warmup_epochs: AtLeastZero = 0.0
    freeze_epochs: AtLeastZero = 0.0

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.nesterov and self.kind == "sgd" and self.momentum == 0:
            fix = "Pass {at}momentum 0.9, or leave {at}nesterov out."
            yield Mistake("momentum", "a number above 0 beside nesterov", fix)

    def warning(self) -> str:
        """Return a warning about a learning rate that is usual with Adam, and with SGD hardly trains; or no text."""
        if self.kind != "sgd" or not 0 < self.learning_rate < LEAST_OF_SGD:
            return ""
        return (
            f"warning: a learning rate of {self.learning_rate:g} is low for sgd; where it comes from a program that "
            "trains with Adam, pass --optimizer adam as well"
        )


@dataclass(frozen=True)
class DeviceSettings:
    """Device and threads of the network.

    Args:
        device: auto (CUDA if available), cpu or cuda.
        threads: CPU threads of the network; 0 keeps the library's default.
    """

    device: Device = "auto"
    threads: Processes = 0


@dataclass(frozen=True)
class EngineSettings(DeviceSettings):
    """Devices, processes and precision.

    Args:
        devices: Number of processes, one device each.
        precision: auto (bf16 on CUDA devices that support it, else 32), 32, tf32 (32 with CUDA's TensorFloat), bf16 or
            fp16.
        compile: Compile the network with torch.compile.
        deterministic: Use bit-identical, slower algorithms on CUDA; the CPU's always are.
    """

    devices: Annotated[int, Range(1, 1_024)] = 1
    precision: Precision = "auto"
    compile: bool = False
    deterministic: bool = False


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are saved, and which loss stops a run.

    Args:
        every_epochs: Epochs between two checkpoints; one is also saved at the end and on SIGTERM.
        every_steps: Steps between further checkpoints; 0 is off.
        keep: Number of newest checkpoints to keep; if the newest is damaged, a run resumes from the one before it.
        spike_factor: Stop when the loss exceeds the median of the last 50 by this factor (and their largest by half);
            0 is off.
        spike_after: Initial steps whose loss may jump.
    """

    every_epochs: Annotated[int, Range(1)] = 1
    every_steps: Annotated[int, Range(0)] = 0
    keep: Annotated[int, Range(1)] = 2
    spike_factor: AtLeastZero = 4.0
    spike_after: Annotated[int, Range(0)] = 0


@dataclass(frozen=True)
class TrainingSettings:
    """Options of every training.

    Args:
        out: Folder of the run, which becomes the model folder.
        sampler: Batches.
        optimizer: Optimizer and learning rate.
        engine: Devices and precision.
        checkpoint: Checkpoints.
        epochs: Epochs over the training images.
        steps_per_epoch: End each epoch after this many steps; 0 takes all batches.
        evaluate_every: Epochs between two evaluations, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        resume: Resume an unfinished run found in `out`; false fails if there is one.
        allow_config_change: Resume although a setting or the data changed; the difference is logged.
    """

    out: Path = Path("runs/train")
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: Annotated[int, Range(1)] = 80
    steps_per_epoch: Annotated[int, Range(0)] = 0
    evaluate_every: EvaluateEvery = 10
    seed: Seed = 1
    resume: bool = True
    allow_config_change: bool = False

    def mistakes(self) -> Iterator[Mistake]:
        """Yield a mistake if a batch cannot be split evenly over devices and forward passes.

        Triplets are mined within one forward pass on one device. A batch of P x K images is split between people, and
        each part has at least two people: one alone has no negatives, and its loss would be 0.
        """
        sampler, devices = self.sampler, self.engine.devices
        whole = sampler.images_per_identity if sampler.kind == "identities" else 1
        parts = sampler.accumulate * devices
        if sampler.batch % (parts * whole) or sampler.batch // parts < 2 * whole:
            unit = "images" if whole == 1 else f"people with all their {whole} images"
            expected = f"a divisor of the batch of {sampler.batch}, and 2 or more {unit} per forward pass and device"
            fix = f"Choose a batch that is a multiple of {2 * whole * parts}: accumulate x {devices} devices x "
            fix += f"{2 * whole} images; or a smaller {{at}}sampler.accumulate."
            yield Mistake("sampler.accumulate", expected, fix)


@dataclass(frozen=True)
class LabelledTrainingSettings(TrainingSettings):
    """Options of a training on labelled images.

    Args:
        data: Training images.
        augment: Augmentation.
        loss: Losses.
    """

    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass(frozen=True)
class TrainSettings(LabelledTrainingSettings):
    """Settings of `rewho train`.

    Args:
        model: Network.
    """

    command = Command(
        "train",
        "train a model on a labelled data set",
        "data.root",
        common="data.root out model.backbone model.pretrained model.input_size epochs sampler.batch "
        "optimizer.learning_rate sampler.kind loss.triplet data.hold_out data.layout data.workers engine.device seed",
        examples=(
            "train people --hold_out 10",
            "train Market-1501 --recipe fd/s-fast --out runs/student",
            "train Market-1501 --init runs/pretrain --batch 64 --lr 0.01",
        ),
        required="data.root",
    )

    model: ModelSettings = field(default_factory=ModelSettings)
