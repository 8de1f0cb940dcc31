"""The settings of every stage, as frozen dataclasses: one place that names, types, defaults and explains each option.

A recipe (YAML) and the command line fill the same classes, see `core/config.py`. Nothing heavy is imported here, so
that `rewho train --help` answers at once. The defaults of `TrainSettings` are the paper preset of Factorized
Distillation's initial student (FD section 4.1, table 2) where the paper gives a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


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
        share: Share of the training set to keep, 0 to 1.
        share_by: identities (small-scale: some people, all their images) or images (few-shot: all people, few images).
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
    """The single-view model: backbone, pooling, embedding (FD section 3.1, figure 2).

    Args:
        backbone: squeezenet1_0, squeezenet1_1, resnet18 … resnet152, or any model name that timm knows.
        stride_one_at: Which ResNet stage keeps its stride at 1 for a total stride of 16: layer4 (the usual reading of
            "conv4_1") or layer3 (the literal one).
        pooling: stabilized_gmp (FD equation 5), gem, gap or gmp.
        pooling_kernel: Kernel of the average pooling inside stabilized_gmp.
        embedding: Length of the embedding, such as 512, 2048 (students R50b, R152b) or 256 (partial teachers).
        view: holistic, up1, mid1, dn1, up2, mid2 or dn2 (FD figure 1), or a YAML file that describes a view.
        input_size: Height and width of the network's input in pixels; empty takes the view's own.
        pretrained: none, imagenet (downloaded by name), or a .safetensors / .pth file with backbone weights.
    """

    backbone: str = "squeezenet1_1"
    stride_one_at: str = "layer4"
    pooling: str = "stabilized_gmp"
    pooling_kernel: int = 4
    embedding: int = 512
    view: str = "holistic"
    input_size: tuple[int, ...] = ()
    pretrained: str = "imagenet"


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
        kind: sgd or adam.
        learning_rate: Rate at the start (after warm-up).
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum.
        weight_decay: Weight decay of every weight, as the paper has it.
        head_factor: Learning-rate factor of the layers that are not the backbone.
        schedule: halve (multiply by 0.5 every `halve_every` epochs), cosine (to zero) or constant.
        halve_every: Epochs between two halvings.
        warmup_epochs: Epochs of linear warm-up from zero; may be a fraction.
    """

    kind: str = "sgd"
    learning_rate: float = 0.0025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    head_factor: float = 1.0
    schedule: str = "halve"
    halve_every: float = 20.0
    warmup_epochs: float = 0.0


@dataclass(frozen=True)
class LossSettings:
    """The identity loss (FD equation 1, as a mean over the batch).

    Args:
        label_smoothing: Share of the target spread over other identities, 0 to 1.
        smoothing_over: all (PyTorch: share / C to every class) or others (fast-reid: share / (C - 1) to the others).
    """

    label_smoothing: float = 0.0
    smoothing_over: str = "all"


@dataclass(frozen=True)
class EngineSettings:
    """Where and how the steps are computed.

    Args:
        device: auto, cpu or cuda.
        devices: Number of processes, one device each.
        precision: auto (bf16 on CUDA devices that have it, else 32), 32, bf16 or fp16.
        compile: Compile the network with torch.compile.
        deterministic: Ask for bit-identical results on CUDA too, which costs speed; on the CPU they always are.
        threads: CPU threads for the network; 0 leaves torch's own choice.
    """

    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    compile: bool = False
    deterministic: bool = False
    threads: int = 0


@dataclass(frozen=True)
class CheckpointSettings:
    """When the state is saved, and what happens on trouble.

    Args:
        every_epochs: Save a checkpoint every so many epochs; it is also saved at the end and on SIGTERM.
        every_steps: Save also every so many steps; 0 is off.
        keep: How many checkpoints to keep; the older ones are what a damaged newest one falls back to.
        spike_factor: Stop when the loss exceeds the median of the last 50 by this factor (and the largest by half);
            0 is off.
    """

    every_epochs: int = 1
    every_steps: int = 0
    keep: int = 2
    spike_factor: float = 4.0


@dataclass(frozen=True)
class TrainSettings:
    """Everything that `rewho train` does.

    Args:
        out: Folder of the run; it becomes the model folder.
        data: Which pictures.
        model: Which network.
        augment: Which random changes.
        sampler: Which images make a batch.
        optimizer: How the weights move.
        loss: Which loss.
        engine: Where it is computed.
        checkpoint: When it is saved.
        epochs: Passes over the training set.
        steps_per_epoch: Stop each epoch after so many steps; 0 takes them all.
        evaluate_every: Evaluate every so many epochs, and at the end; 0 is only at the end, -1 is never.
        seed: Seed of every random draw.
        resume: Continue an interrupted run found in `out`; false refuses where there is one.
        allow_config_change: Resume although a setting or the data changed; the difference is logged.
    """

    out: Path = Path("runs/train")
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 80
    steps_per_epoch: int = 0
    evaluate_every: int = 10
    seed: int = 1
    resume: bool = True
    allow_config_change: bool = False


@dataclass(frozen=True)
class EvaluateSettings:
    """Everything that `rewho evaluate` does.

    Args:
        model: Model folders; several are rows of a matrix.
        data: Data sets; several are columns of a matrix (cross-dataset evaluation).
        out: Folder of the report.
        reading: How the data sets are read; its `root` is replaced by each of `data`.
        rerank: Re-rank with k-reciprocal neighbours as well (Zhong et al., CVPR 2017).
        k1: Neighbours in the k-reciprocal sets.
        k2: Neighbours that are averaged in the local query expansion.
        lambda_value: Share of the original distance in the re-ranked one.
        flip: Average the embeddings of a picture and its mirror image.
        single_gallery_shot: Also score the classic CUHK03 protocol: one random gallery picture per identity, 100 times.
        max_rank: Longest rank of the CMC.
        sheets: Queries shown with their top ten, and worst queries shown beside them; 0 draws none.
        batch: Pictures embedded at a time.
        engine: Where it is computed.
        seed: Seed of the bootstrap interval and of which queries are shown.
    """

    model: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    out: Path = Path("runs/evaluate")
    reading: DataSettings = field(default_factory=DataSettings)
    rerank: bool = False
    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    flip: bool = True
    single_gallery_shot: bool = False
    max_rank: int = 50
    sheets: int = 10
    batch: int = 64
    engine: EngineSettings = field(default_factory=EngineSettings)
    seed: int = 1


@dataclass(frozen=True)
class EmbedSettings:
    """Everything that `rewho embed` does.

    Args:
        folder: Folder of pictures, one person each; sub-folders are searched.
        model: Model folder.
        out: Folder for embeddings.npy [N, D] and pictures.csv, in the same order.
        flip: Average the embeddings of a picture and its mirror image.
        batch: Pictures embedded at a time.
        engine: Where it is computed.
    """

    folder: Path = Path("pictures")
    model: Path = Path("model")
    out: Path = Path("runs/embed")
    flip: bool = True
    batch: int = 64
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True)
class CompareSettings:
    """Everything that `rewho compare` does.

    Args:
        images: Two or more pictures of one person each.
        model: Model folder.
        flip: Average the embeddings of a picture and its mirror image.
        engine: Where it is computed.
    """

    images: tuple[Path, ...] = ()
    model: Path = Path("model")
    flip: bool = True
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True)
class DemoSettings:
    """Everything that `rewho demo` does.

    Args:
        out: Folder of the demo: rendered people, model, report.
        identities: Rendered people to train on.
        epochs: Passes over them.
        seed: Seed of the people and of the training.
    """

    out: Path = Path("runs/demo")
    identities: int = 120
    epochs: int = 6
    seed: int = 1
