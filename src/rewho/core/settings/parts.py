"""Settings that several stages share: data, augmentation, network, sampler, optimizer, engine, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class DataSettings:
    """Which pictures, and how they are held.

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
            line) or of pictures (`name; label; camera`).
        split_seed: Seed that draws the share.
        hold_out: Hold this many training identities out as a query and gallery of their own, for data without a test
            part; 0 uses the data set's own test part.
        memory_gb: Decoded pictures are kept in memory up to this many gigabytes, and decoded again each time beyond.
        workers: Processes that prepare batches; 0 prepares them in the main process.
    """

    root: Path = Path("data")
    layout: str = "auto"
    cuhk03_boxes: str = "detected"
    cuhk03_protocol: Path | None = None
    person_pattern: str | None = None
    train_with_val: bool = True
    share: float = 1.0
    share_by: str = "identities"
    share_list: Path | None = None
    split_seed: int = 1
    hold_out: int = 0
    memory_gb: float = 4.0
    workers: int = 2


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes to a training picture (FD table 2). The paper gives no strengths; these are ours.

    Args:
        flip: Probability of a horizontal flip.
        crop_padding: Pixels of padding around the resized picture before a random crop of the input size; 0 is off.
        colour: Strength of brightness, contrast and saturation jitter: factors from 1 - colour to 1 + colour.
        rotation: Largest rotation in degrees, either way; 0 is off.
        erase: Probability that a rectangle is erased.
        erase_area_low: Smallest erased share of the picture's area.
        erase_area_high: Largest erased share of the picture's area.
        erase_aspect: Smallest height/width of the rectangle; the largest is its inverse.
        erase_fill: mean (the data set's mean colour) or noise (random pixels).
    """

    flip: float = 0.5
    crop_padding: int = 10
    colour: float = 0.0
    rotation: float = 0.0
    erase: float = 0.5
    erase_area_low: float = 0.02
    erase_area_high: float = 0.4
    erase_aspect: float = 0.3
    erase_fill: str = "mean"


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

    kind: str = "single_view"
    backbone: str = "squeezenet1_1"
    stride_one_at: str = "layer4"
    pooling: str = "stabilized_gmp"
    pooling_kernel: int = 4
    head: str = "fc_bn"
    embedding: int = 512
    extra_bn: str = "auto"
    view: str = "holistic"
    input_size: tuple[int, ...] = ()
    pretrained: str = "imagenet"
    pretrained_labels: str = "auto"
    pixel_mean: tuple[float, ...] = ()
    pixel_std: tuple[float, ...] = ()


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

    kind: str = "shuffle"
    batch: int = 32
    images_per_identity: int = 4
    accumulate: int = 1


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

    kind: str = "sgd"
    learning_rate: float = 0.0025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    head_factor: float = 1.0
    schedule: str = "halve"
    halve_every: float = 20.0
    step_epochs: tuple[float, ...] = ()
    step_factor: float = 0.1
    flat_epochs: float = 0.0
    warmup_epochs: float = 0.0
    freeze_epochs: float = 0.0


@dataclass(frozen=True)
class DeviceSettings:
    """Where embeddings are computed.

    Args:
        device: auto, cpu or cuda.
        threads: CPU threads for the network; 0 leaves torch's own choice.
    """

    device: str = "auto"
    threads: int = 0


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

    devices: int = 1
    precision: str = "auto"
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

    every_epochs: int = 1
    every_steps: int = 0
    keep: int = 2
    spike_factor: float = 4.0
    spike_after: int = 0


class LoopSettings(Protocol):
    """What the training loop has to know, whichever stage it works for; each stage's settings class has these."""

    @property
    def sampler(self) -> SamplerSettings: ...  # noqa: D102
    @property
    def optimizer(self) -> OptimizerSettings: ...  # noqa: D102
    @property
    def engine(self) -> EngineSettings: ...  # noqa: D102
    @property
    def checkpoint(self) -> CheckpointSettings: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def evaluate_every(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
