"""Settings of the stages that use a trained model: evaluate, embed, compare, explain, export, and the demo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.fields import Mistake, Range, Seed, Share
from rewho.settings.parts import DataSettings, DeviceSettings

ExportFormat = Literal["onnx", "pt2"]


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
        flip: Average the embeddings of an image and its mirror image.
        single_gallery_shot: Also score the classic CUHK03 protocol: one random gallery image per identity, 100 times.
        max_rank: Longest rank of the CMC.
        sheets: Queries shown with their top ten, and worst queries shown beside them; 0 draws none.
        attention: Queries, spread over the data set, that are shown with where the model looks; 0 draws none.
        batch: Images embedded at a time.
        engine: Where it is computed.
        seed: Seed of the bootstrap interval and of which queries are shown.
    """

    model: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    out: Path = Path("runs/evaluate")
    reading: DataSettings = field(default_factory=DataSettings)
    rerank: bool = False
    k1: Annotated[int, Range(1)] = 20
    k2: Annotated[int, Range(1)] = 6
    lambda_value: Share = 0.3
    flip: bool = True
    single_gallery_shot: bool = False
    max_rank: Annotated[int, Range(1)] = 50
    sheets: Annotated[int, Range(0)] = 10
    attention: Annotated[int, Range(0)] = 4
    batch: Annotated[int, Range(1, 100_000)] = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)
    seed: Seed = 1

    def mistakes(self) -> Iterator[Mistake]:
        """Yield what is wrong between fields."""
        if self.k2 > self.k1 + 1:
            yield Mistake(
                "k2", f"at most one more than k1, which is {self.k1}", "Pass a smaller {at}k2, or a larger {at}k1."
            )


@dataclass(frozen=True)
class EmbedSettings:
    """Everything that `rewho embed` does.

    Args:
        folder: Folder of images, one person each; sub-folders are searched. Or a crop set.
        model: Model folder.
        out: Folder for embeddings.npy [N, D] and images.csv, in the same order.
        flip: Average the embeddings of an image and its mirror image.
        batch: Images embedded at a time.
        engine: Where it is computed.
    """

    folder: Path = Path("images")
    model: Path = Path("model")
    out: Path = Path("runs/embed")
    flip: bool = True
    batch: Annotated[int, Range(1, 100_000)] = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class CompareSettings:
    """Everything that `rewho compare` does.

    Args:
        images: Two or more images of one person each.
        model: Model folder.
        flip: Average the embeddings of an image and its mirror image.
        engine: Where it is computed.
    """

    images: tuple[Path, ...] = ()
    model: Path = Path("model")
    flip: bool = True
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class ExplainSettings:
    """Everything that `rewho explain` does.

    Args:
        images: Images of one person each, or folders of them.
        model: Model folder, the folder of an unfinished run (its newest checkpoint is taken), or one checkpoint,
            RUN/checkpoints/step-…; the branches of a distillation are shown too.
        out: Folder for the sheets, and for the attention images as single files.
        views: Views whose branch is shown; empty shows all that there are.
        engine: Where it is computed.
    """

    images: tuple[Path, ...] = ()
    model: Path = Path("model")
    out: Path = Path("runs/explain")
    views: tuple[str, ...] = ()
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class ExportSettings:
    """Everything that `rewho export` does.

    Args:
        model: Model folder.
        out: Folder for the exported file, its card (model.json) and its page (README.md).
        format: onnx, or pt2, a program of torch.export, which has taken the place of TorchScript.
        flip: Put the mean with the mirror image's embedding into the file, as `rewho embed` takes it; half as fast.
        check: Folder of images on which file and model are compared; left out, on rendered people.
        batch: Images compared at a time.
    """

    model: Path = Path("model")
    out: Path = Path("runs/export")
    format: ExportFormat = "onnx"
    flip: bool = False
    check: Path | None = None
    batch: Annotated[int, Range(1, 100_000)] = 64


@dataclass(frozen=True)
class DemoSettings:
    """Everything that `rewho demo` does.

    Args:
        chapter: distillation (a student learns from experts for parts of the body), or few-labels (whether
            images without labels, cut out of street videos, make up for labels that are missing).
        out: Folder of the demo: what is rendered, models, report; few-labels has a folder of its own in it.
        identities: Rendered people to train on; with few-labels only every tenth of them has a label, or an image.
        epochs: Passes over them; with few-labels three times as many over the images without labels, and five times
            as many over the labelled ones.
        seed: Seed of the people and of the training.
    """

    chapter: Literal["distillation", "few-labels"] = "distillation"
    out: Path = Path("runs/demo")
    identities: Annotated[int, Range(2, 100_000)] = 120
    epochs: Annotated[int, Range(1, 10_000)] = 6
    seed: Annotated[int, Range(0, 999_999)] = 1
