"""Settings that several stages share: data, augmentation, network, sampler, optimizer, engine, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Device, Mistake, Processes, Range, Seed, Share, SomeShare, YesNoAuto

Layout = Literal["auto", "market1501", "cuhk03-np", "cuhk03-original", "dukemtmc-reid", "msmt17", "folder", "csv"]
CuhkBoxes = Literal["detected", "labeled"]
ShareBy = Literal["identities", "people", "images"]
EraseFill = Literal["mean", "noise"]
StrideOneAt = Literal["layer4", "layer3", "none"]
Pooling = Literal["stabilized_gmp", "gem", "gap", "gmp"]
Head = Literal["fc_bn", "bn", "none"]
Schedule = Literal["halve", "steps", "cosine", "constant"]
Precision = Literal["auto", "32", "tf32", "bf16", "fp16"]
SmoothingOver = Literal["all", "others"]
Classifier = Literal["linear", "circle"]
TripletDistance = Literal["euclidean", "unit_euclidean", "unit_squared"]


def ordered(settings: object, low: str, high: str, fix: str = "Give the smaller one first.") -> Iterator[Mistake]:
    """Yield a mistake where the upper end of an interval lies below its lower end."""
    least = getattr(settings, low)
    if getattr(settings, high) < least:
        yield Mistake(high, f"at least {low}, which is {least:g}", fix)


ERASE_NOTHING = "To erase nothing, pass {at}erase 0; else lower {at}erase_area_low too."


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are held.

    Args:
        root: Folder of the data set, or a CSV file.
        layout: market1501, cuhk03-np, cuhk03-original, dukemtmc-reid, msmt17, folder or csv; `auto` recognises it.
        cuhk03_boxes: Which boxes of the original CUHK03 release to read: detected or labeled.
        cuhk03_protocol: The new protocol's .mat file, for the original CUHK03 release.
        person_pattern: For plain folders: regular expression with a group `person` and optionally a group `camera`,
            matched against file names. Without it every sub-folder is one person.
        train_with_val: MSMT17: train on train+val (32,621 images) rather than on train alone (30,248 images).
        share: Share of the training set to keep, above 0, at most 1.
        share_by: identities (small-scale: some people, all their images) or images (few-shot: all people, few images).
        share_list: File that lists what to keep instead of a share: LUPerson's published lists of people (a number per
            line) or of images (`name; label; camera`).
        split_seed: Seed that draws the share.
        hold_out: Hold this many training identities out as a query and gallery of their own, for data without a test
            part; 0 uses the data set's own test part.
        memory_gb: Decoded images are kept in memory up to this many gigabytes, and decoded again each time beyond.
        workers: Processes that prepare batches; 0 prepares them in the main process.
    """

    root: Path = Path("data")
    layout: Layout = "auto"
    cuhk03_boxes: CuhkBoxes = "detected"
    cuhk03_protocol: Path | None = None
    person_pattern: str | None = None
    train_with_val: bool = True
    share: SomeShare = 1.0
    share_by: ShareBy = "identities"
    share_list: Path | None = None
    split_seed: Seed = 1
    hold_out: Annotated[int, Range(0)] = 0
    memory_gb: Annotated[float, Range(0, 1_000_000)] = 4.0
    workers: Processes = 2


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes to a training image (FD table 2). The paper gives no strengths; these are ours.

    Args:
        flip: Probability of a horizontal flip.
        crop_padding: Pixels of padding around the resized image before a random crop of the input size; 0 is off.
        colour: Strength of brightness, contrast and saturation jitter: factors from 1 - colour to 1 + colour.
        rotation: Largest rotation in degrees, either way; 0 is off.
        erase: Probability that a rectangle is erased.
        erase_area_low: Smallest erased share of the image's area.
        erase_area_high: Largest erased share of the image's area.
        erase_aspect: Smallest height/width of the rectangle; the largest is its inverse.
        erase_fill: mean (the data set's mean colour) or noise (random pixels).
    """

    flip: Share = 0.5
    crop_padding: Annotated[int, Range(0, 1_000)] = 10
    colour: Share = 0.0
    rotation: Annotated[float, Range(0, 180)] = 0.0
    erase: Share = 0.5
    erase_area_low: Share = 0.02
    erase_area_high: Share = 0.4
    erase_aspect: Annotated[float, Range(0.001, 1)] = 0.3
    erase_fill: EraseFill = "mean"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        yield from ordered(self, "erase_area_low", "erase_area_high", ERASE_NOTHING)


@dataclass(frozen=True)
class ModelSettings:
    """The model: backbone, pooling, head (FD section 3.1, figure 2), or one with several branches.

    Args:
        kind: single_view, mgn (multiple granularity network) or bdb (batch drop block).
        backbone: squeezenet1_0, squeezenet1_1, resnet18 … resnet152, or any model name that timm knows.
        stride_one_at: Which ResNet stage keeps its stride at 1 for a total stride of 16: layer4 (the usual reading of
            "conv4_1") or layer3 (the literal one); none keeps torchvision's total stride of 32, as MoCo's code does.
        pooling: stabilized_gmp (FD equation 5), gem, gap or gmp.
        pooling_kernel: Kernel of the average pooling inside stabilized_gmp.
        head: What follows the pooling of a single-view model: fc_bn (the paper's embedding), bn (the pooled feature,
            normalised: BNNeck, where a triplet loss sees what comes before the normalisation) or none.
        embedding: Length of the embedding, such as 512, 2048 (students R50b, R152b) or 256 (partial teachers); of all
            heads together: a multiple of 8 for mgn, of 3 for bdb. With head bn or none it is the backbone's own length.
        extra_bn: A batch normalisation where a head takes the backbone's map (LUPerson section 4.3): yes, no, or auto,
            which adds it where the weights come from pre-training without labels.
        view: holistic, up1, mid1, dn1, up2, mid2 or dn2 (FD figure 1), or a YAML file that describes a view.
        input_size: Height and width of the network's input in pixels; empty takes the view's own.
        pretrained: none, imagenet (downloaded by name), a model folder of `rewho train` or `rewho pretrain`, or a
            .safetensors / .pth file with backbone weights, such as a checkpoint of MoCo's or LUPerson's code. Also
            called --init.
        pretrained_labels: Whether these weights were learned with labels: yes, no, or auto, which knows it of
            ImageNet's, of model folders and of checkpoints of MoCo's code, but not of a plain backbone's file.
        pixel_mean: Channel means, red, green, blue from 0 to 1; empty takes those that the weights were made with.
        pixel_std: Channel standard deviations; empty takes those that the weights were made with.
    """

    kind: Literal["single_view", "mgn", "bdb"] = "single_view"
    backbone: str = "squeezenet1_1"
    stride_one_at: StrideOneAt = "layer4"
    pooling: Pooling = "stabilized_gmp"
    pooling_kernel: Annotated[int, Range(1)] = 4
    head: Head = "fc_bn"
    embedding: Annotated[int, Range(1)] = 512
    extra_bn: YesNoAuto = "auto"
    view: str = "holistic"
    input_size: Annotated[tuple[int, ...], Range(1, 10_000)] = ()
    pretrained: str = "imagenet"
    pretrained_labels: YesNoAuto = "auto"
    pixel_mean: Annotated[tuple[float, ...], Range(0, 1, above=True)] = ()
    pixel_std: Annotated[tuple[float, ...], Range(0, 1, above=True)] = ()

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if self.pretrained == "none" and self.pretrained_labels != "auto":
            yield Mistake("pretrained_labels", "auto beside pretrained none", "Leave it out.")
        if self.embedding % {"mgn": 8, "bdb": 3}.get(self.kind, 1):
            fix = "Pass {at}embedding 2048 with mgn, 1536 with bdb."
            yield Mistake("embedding", "a multiple of 8 for mgn, of 3 for bdb", fix)


@dataclass(frozen=True)
class SamplerSettings:
    """Which images make a batch.

    Args:
        kind: shuffle (each image once per epoch) or identities (P x K: `batch / images_per_identity` people with
            K images each; every identity comes at least once per epoch).
        batch: Images per optimizer step, over all devices.
        images_per_identity: K of the identities sampler.
        accumulate: Split each batch into this many forward passes and add their gradients.
    """

    kind: Literal["shuffle", "identities"] = "shuffle"
    batch: Annotated[int, Range(2)] = 32
    images_per_identity: Annotated[int, Range(1)] = 4
    accumulate: Annotated[int, Range(1)] = 1

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        each = self.images_per_identity
        if self.kind == "identities" and (self.batch % each or self.batch < 2 * each):
            expected = f"P x images_per_identity, which is {each}, with P from 2"
            yield Mistake("batch", expected, "Pass {at}batch 32 and {at}images_per_identity 4.")
        if self.batch % self.accumulate or self.batch < 2 * self.accumulate:
            expected = f"a divisor of the batch of {self.batch}, and 2 or more images a forward pass"
            yield Mistake("accumulate", expected, "Choose a batch that is a multiple of {at}accumulate.")


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and learning-rate schedule; lengths in epochs are turned into steps (FD section 4.1).

    Args:
        kind: sgd, adam, or adamw, whose weight decay is apart from the gradient.
        learning_rate: Rate at the start (after warm-up).
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum.
        weight_decay: Weight decay of every weight, as the paper has it.
        head_factor: Learning-rate factor of the layers that are not the backbone.
        schedule: halve (multiply by 0.5 every `halve_every` epochs), steps (multiply by `step_factor` at each of
            `step_epochs`), cosine (to zero) or constant.
        halve_every: Epochs between two halvings.
        step_epochs: Epochs at which `steps` lowers the rate.
        step_factor: What `steps` multiplies the rate with.
        flat_epochs: Epoch at which `cosine` begins to fall; 0 is behind the warm-up.
        warmup_epochs: Epochs of linear warm-up from zero; may be a fraction.
        freeze_epochs: Epochs in the beginning in which the pre-trained part is frozen: its weights and running
            statistics stay, and it costs a forward pass only. What begins from random weights is never frozen.
    """

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: Annotated[float, Range(0)] = 0.0025
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Range(0)] = 5e-4
    head_factor: Annotated[float, Range(0)] = 1.0
    schedule: Schedule = "halve"
    halve_every: Annotated[float, Range(0, above=True)] = 20.0
    step_epochs: Annotated[tuple[float, ...], Range(0)] = ()
    step_factor: Annotated[float, Range(0)] = 0.1
    flat_epochs: Annotated[float, Range(0)] = 0.0
    warmup_epochs: Annotated[float, Range(0)] = 0.0
    freeze_epochs: Annotated[float, Range(0)] = 0.0

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if self.nesterov and self.kind == "sgd" and self.momentum == 0:
            fix = "Pass {at}momentum 0.9, or leave {at}nesterov out."
            yield Mistake("momentum", "a number above 0 beside nesterov", fix)


@dataclass(frozen=True)
class DeviceSettings:
    """Where embeddings are computed.

    Args:
        device: auto, cpu or cuda.
        threads: CPU threads for the network; 0 leaves torch's own choice.
    """

    device: Device = "auto"
    threads: Processes = 0


@dataclass(frozen=True)
class EngineSettings(DeviceSettings):
    """Where and how the steps of a training are computed.

    Args:
        device: auto, cpu or cuda.
        devices: Number of processes, one device each.
        precision: auto (bf16 on CUDA devices that have it, else 32), 32, tf32 (32 with CUDA's TensorFloat), bf16, fp16.
        compile: Compile the network with torch.compile.
        deterministic: Ask for bit-identical results on CUDA too, which costs speed; on the CPU they always are.
        threads: CPU threads for the network; 0 leaves torch's own choice.
    """

    devices: Annotated[int, Range(1, 1_024)] = 1
    precision: Precision = "auto"
    compile: bool = False
    deterministic: bool = False


@dataclass(frozen=True)
class CheckpointSettings:
    """When the state is saved, and what happens on trouble.

    Args:
        every_epochs: Save a checkpoint every so many epochs; it is also saved at the end and on SIGTERM.
        every_steps: Save also every so many steps; 0 is off.
        keep: How many checkpoints to keep; the older ones are what a damaged newest one falls back to.
        spike_factor: Stop when the loss exceeds the median of the last 50 by this factor (and the largest by half);
            0 is off.
        spike_after: Steps in the beginning in which a jump is no reason to stop.
    """

    every_epochs: Annotated[int, Range(1)] = 1
    every_steps: Annotated[int, Range(0)] = 0
    keep: Annotated[int, Range(1)] = 2
    spike_factor: Annotated[float, Range(0)] = 4.0
    spike_after: Annotated[int, Range(0)] = 0


@dataclass(frozen=True)
class LossSettings:
    """The losses: of identities (FD equation 1, as a mean over the batch), and of triplets.

    Args:
        identity: Weight of the identity loss of each head; 0 leaves classifiers out.
        triplet: Weight of the batch-hard triplet loss of each head; 0 leaves it out.
        label_smoothing: Share of the target spread over other identities, 0 to 1.
        smoothing_over: all (PyTorch: share / C to every class) or others (fast-reid: share / (C - 1) to the others).
        classifier: linear, or circle (circle-softmax, fast-reid's MGN).
        circle_scale: Scale of circle-softmax.
        circle_margin: Margin of circle-softmax.
        margin: Margin of the triplet loss; 0 is the soft margin.
        triplet_distance: euclidean, unit_euclidean (of vectors of length 1) or unit_squared (2 - 2 cos).
    """

    identity: Annotated[float, Range(0, 1_000)] = 1.0
    triplet: Annotated[float, Range(0, 1_000)] = 0.0
    label_smoothing: Share = 0.0
    smoothing_over: SmoothingOver = "all"
    classifier: Classifier = "linear"
    circle_scale: Annotated[float, Range(0.1, 1_000)] = 64.0
    circle_margin: Share = 0.35
    margin: Annotated[float, Range(0, 100)] = 0.3
    triplet_distance: TripletDistance = "euclidean"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if not self.identity and not self.triplet:
            yield Mistake("identity", "a weight above 0 for it or for triplet", "Pass {at}identity 1.")


@dataclass(frozen=True)
class TrainingSettings:
    """What every training has, whatever it learns.

    Args:
        out: Folder of the run; it becomes the model folder.
        sampler: Which images make a batch.
        optimizer: How the weights move.
        engine: Where it is computed.
        checkpoint: When it is saved.
        epochs: Epochs over the training images.
        steps_per_epoch: Stop each epoch after this many steps; 0 takes them all.
        evaluate_every: Evaluate every so many epochs, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        resume: Continue an interrupted run found in `out`; false refuses where there is one.
        allow_config_change: Resume although a setting or the data changed; the difference is logged.
    """

    out: Path = Path("runs/train")
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: Annotated[int, Range(1)] = 80
    steps_per_epoch: Annotated[int, Range(0)] = 0
    evaluate_every: Annotated[int, Range(-1)] = 10
    seed: Seed = 1
    resume: bool = True
    allow_config_change: bool = False


@dataclass(frozen=True)
class LabelledTrainingSettings(TrainingSettings):
    """What a training on labelled images has besides.

    Args:
        data: Which images.
        augment: Which random changes.
        loss: Which loss.
    """

    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
