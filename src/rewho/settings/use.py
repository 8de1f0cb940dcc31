"""Settings of the stages that use a trained model: evaluate, embed, compare, explain, and the demo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from rewho.settings.data import DataSettings
from rewho.settings.fields import Batch, Command, Mistake, Processes, Range, Runtime, Seed, Share
from rewho.settings.training import DeviceSettings

SPLIT_OPTIONS = ("hold_out", "split_seed", "share")
"""Options of a data set that an evaluation takes from the model's own training."""


@dataclass(frozen=True)
class EvaluateDataSettings(DataSettings):
    """The data sets of an evaluation and how their images are loaded.

    Args:
        root: Folders of data sets, or CSV files; the other options hold for all.
        share: Fraction of the training set to keep; not given: as in the model's own training on this data set.
        split_seed: Seed of the random choice of the share and of the identities held out; not given: as in the model's
            own training on this data set.
        hold_out: Number of training identities to hold out as query and gallery; 0 uses the data set's own test part;
            not given: as in the model's own training on this data set.
    """

    root: tuple[Path, ...] = ()  # type: ignore[assignment] # several data sets where a training has one
    share: Annotated[float | None, Range(0, 1, above=True)] = None  # type: ignore[assignment] # see `of`
    split_seed: Annotated[int | None, Range(0, 2**63 - 1)] = None  # type: ignore[assignment]
    hold_out: Annotated[int | None, Range(0)] = None  # type: ignore[assignment]

    def of(self, root: Path, own: Mapping[str, Any] | None = None) -> DataSettings:
        """Return the settings of one of the data sets; options that are not given are `own`, or else the defaults."""
        given = {option.name: getattr(self, option.name) for option in fields(DataSettings)} | {"root": root}
        usual = {name: getattr(DataSettings, name) for name in SPLIT_OPTIONS}
        missing = {name: value for name, value in (usual | dict(own or {})).items() if given[name] is None}
        if "share" in missing and own and "share_by" in own:
            missing["share_by"] = own["share_by"]
        return DataSettings(**given | missing)

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.share_list is not None and self.share not in (None, 1):
            yield Mistake("share", "1, its default, beside share_list", "Omit {at}share or {at}share_list.")


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of `rewho evaluate`.

    Args:
        model: Model folders, or names of models that come with rewho; several are the rows of a table.
        data: Data sets; several are the columns of a table (cross-dataset evaluation).
        out: Folder of the report.
        rerank: Also report k-reciprocal re-ranking (Zhong et al., CVPR 2017).
        k1: Neighbours in the k-reciprocal sets.
        k2: Neighbours averaged in the local query expansion.
        lambda_value: Weight of the original distance in the re-ranked one, 0 to 1.
        camera_norm: Also report embeddings relative to the mean of their camera, where it has 20 gallery images.
        score_norm: Also report AS-norm: similarities relative to those of both images with a cohort of the gallery.
        flip: Average the embeddings of an image and its mirror image.
        single_gallery_shot: Also report the classic CUHK03 protocol: one random gallery image per identity, 100 times.
        max_rank: Last rank of the CMC curve.
        sheets: Number of random queries, and of worst queries, drawn with their top ten; 0 draws none.
        attention: Number of queries, spread over the data set, drawn with the model's attention; 0 draws none.
        save_threshold: Store thresholds for 1 % and 0.1 % false matches in each model's folder, for `rewho compare`.
        batch: Images per forward pass.
        engine: Device.
        runtime: What computes embeddings on a CPU: auto (ONNX Runtime for 1,000 images or more where the extra `export`
            is installed, else torch), torch, onnxruntime or openvino; all give the same within 1e-5.
        seed: Seed of the bootstrap interval and of the choice of queries drawn.
    """

    command = Command(
        "evaluate",
        "rank a data set's gallery and report CMC, mAP and rank sheets",
        "model",
        common="model data.root out rerank camera_norm data.hold_out data.layout data.person_pattern flip "
        "single_gallery_shot sheets attention batch engine.device data.workers seed",
        examples=(
            "evaluate runs/train --data Market-1501",
            "evaluate runs/before runs/after --data people --rerank",
            "evaluate runs/train --data Market-1501 MSMT17 --out runs/report",
        ),
        required="model data.root",
    )

    model: tuple[Path, ...] = ()
    data: EvaluateDataSettings = field(default_factory=EvaluateDataSettings)
    out: Path = Path("runs/evaluate")
    rerank: bool = False
    k1: Annotated[int, Range(1)] = 20
    k2: Annotated[int, Range(1)] = 6
    lambda_value: Share = 0.3
    camera_norm: bool = False
    score_norm: bool = False
    flip: bool = True
    single_gallery_shot: bool = False
    max_rank: Annotated[int, Range(1, 100_000)] = 50
    sheets: Annotated[int, Range(0)] = 10
    attention: Annotated[int, Range(0)] = 4
    save_threshold: bool = True
    batch: Batch = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)
    runtime: Runtime = "auto"
    seed: Seed = 1

    def __post_init__(self) -> None:
        if isinstance(self.data, tuple):  # in Python, folders alone will do
            object.__setattr__(self, "data", EvaluateDataSettings(self.data))

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.k2 > self.k1 + 1:
            fix = "Pass a smaller {at}k2, or a larger {at}k1."
            yield Mistake("k2", f"at most one more than k1, which is {self.k1}", fix)


@dataclass(frozen=True)
class EmbedSettings:
    """Settings of `rewho embed`.

    Args:
        images: Folder of images of one person each, with sub-folders; a crop set; or one image.
        model: Model folder, or the name of a model that comes with rewho (`rewho models`).
        out: Folder for embeddings.npy [N, D] and images.csv, in the same order.
        flip: Average the embeddings of an image and its mirror image.
        batch: Images per forward pass.
        ray: Embed a crop set on a Ray cluster whose machines all see the set, the model and `out`; one task per file
            of crops. The bytes are those of a run with --threads 1 on such a machine.
        address: Address of the Ray cluster; empty starts one on this machine.
        workers: Ray workers, one processor each; 0 starts as many as the cluster has room for.
        gpus: GPUs per Ray worker: 0, a fraction of one such as 0.25, or a whole number.
        engine: Device.
        runtime: What computes embeddings on a CPU: auto (ONNX Runtime for 1,000 images or more where the extra `export`
            is installed, else torch), torch, onnxruntime or openvino; all give the same within 1e-5.
    """

    command = Command(
        "embed",
        "compute the embedding of every image in a folder",
        "images",
        common="images model out flip batch engine.device",
        examples=(
            "embed people",
            "embed crops --model runs/train --out runs/crops-embedded",
            "embed people --model runs/train --batch 256 --device cuda",
            "embed crops --ray --address auto --gpus 0.5",
        ),
        required="images",
    )

    images: Path = Path("images")
    model: Path = Path("starter")
    out: Path = Path("runs/embed")
    flip: bool = True
    batch: Batch = 64
    ray: bool = False
    address: str = ""
    workers: Processes = 0
    gpus: Annotated[float, Range(0, 64)] = 0.0
    engine: DeviceSettings = field(default_factory=DeviceSettings)
    runtime: Runtime = "auto"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.gpus > 1 and self.gpus != int(self.gpus):  # which Ray cannot give
            yield Mistake("gpus", "a share of one GPU, or a whole number", "Pass {at}gpus 1.")
        for option in ("gpus", "workers", "address"):
            if getattr(self, option) and not self.ray:
                yield Mistake(option, "nothing without --ray", "Leave it out, or pass {at}ray.")


class GivenThreshold(NamedTuple):
    """What `--threshold` asks for: a cosine, or the stored threshold of a false match rate.

    Attributes:
        value: The cosine; 0 where a rate is given.
        rate: False match rate, 0 to 1; None where a cosine is given.
        data: Data set that it was measured on; empty takes the last one.
    """

    value: float
    rate: float | None
    data: str


_THRESHOLD = re.compile(r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+))(?: ?(?P<percent>%)(?:@(?P<data>.+))?)?", re.ASCII)


def parse_threshold(text: str) -> GivenThreshold | None:
    """Return what a threshold's text asks for; None if it is neither a cosine nor a rate in percent.

    Example:
        >>> parse_threshold("0.62")
        GivenThreshold(value=0.62, rate=None, data='')
        >>> parse_threshold("0.1%@market1501")
        GivenThreshold(value=0.0, rate=0.001, data='market1501')
        >>> parse_threshold("2"), parse_threshold("strict")
        (None, None)
    """
    found = _THRESHOLD.fullmatch(text.strip())
    if not found:
        return None
    number = float(found["number"])
    if found["percent"]:
        return GivenThreshold(0.0, number / 100, found["data"] or "") if 0 < number < 100 else None
    return GivenThreshold(number, None, "") if -1 <= number <= 1 else None


@dataclass(frozen=True)
class CompareSettings:
    """Settings of `rewho compare`.

    Args:
        images: Two or more images of one person each.
        model: Model folder, or the name of a model that comes with rewho (`rewho models`).
        threshold: Also say which pairs are candidates for the same person: from a cosine on, such as 0.62, or at a
            false match rate whose threshold `rewho evaluate` stored with the model, such as 1% or 0.1%@DATA.
        flip: Average the embeddings of an image and its mirror image.
        engine: Device.
        runtime: What computes embeddings on a CPU: auto (ONNX Runtime for 1,000 images or more where the extra `export`
            is installed, else torch), torch, onnxruntime or openvino; all give the same within 1e-5.
    """

    command = Command(
        "compare",
        "print the cosine similarity of the people in two or more images",
        "images",
        examples=(
            "compare a.jpg b.jpg",
            "compare a.jpg b.jpg c.jpg --model runs/train",
            "compare a.jpg b.jpg --model runs/train --device cuda",
        ),
        required="images",
    )

    images: tuple[Path, ...] = ()
    model: Path = Path("starter")
    threshold: str = ""
    flip: bool = True
    engine: DeviceSettings = field(default_factory=DeviceSettings)
    runtime: Runtime = "auto"

    def mistakes(self) -> Iterator[Mistake]:
        """Yield a single image, and a threshold that cannot be read."""
        if len(self.images) == 1:
            yield Mistake("images", "two or more", "Type it as in `rewho compare a.jpg b.jpg`.")
        if self.threshold and parse_threshold(self.threshold) is None:
            expected = "a cosine from -1 to 1, or a false match rate in percent"
            yield Mistake("threshold", expected, "Pass {at}threshold 0.62, or {at}threshold 1%.")


@dataclass(frozen=True)
class ExplainSettings:
    """Settings of `rewho explain`.

    Args:
        images: Images of one person each, or folders of them.
        model: Model folder, folder of an unfinished run (its newest checkpoint is used), or one checkpoint,
            RUN/checkpoints/step-…; the branches of a distillation are drawn too.
        out: Folder for the sheets, and for each attention image as a file.
        views: Views whose branch is drawn; empty draws all.
        engine: Device.
    """

    command = Command(
        "explain",
        "draw the model's attention over images",
        "images",
        examples=(
            "explain a.jpg b.jpg --model runs/train",
            "explain people/anna --model runs/train --out runs/attention",
            "explain people/anna --model runs/distill --views up1 dn1",
        ),
        required="images",
    )

    images: tuple[Path, ...] = ()
    model: Path = Path("starter")
    out: Path = Path("runs/explain")
    views: tuple[str, ...] = ()
    engine: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True)
class DemoSettings:
    """Settings of `rewho demo`.

    Args:
        chapter: distillation (a student learns from teachers of body parts) or few-labels (pre-training on crops of
            street videos, then training on few labels).
        out: Folder for rendered images, models and report; few-labels uses a sub-folder.
        identities: Rendered people to train on; few-labels renders only every tenth of them.
        epochs: Epochs over them; few-labels pre-trains three times and trains five times as long.
        seed: Seed of the rendered people and of the training.
    """

    command = Command(
        "demo",
        "render people, train, evaluate, and print the report's path; needs no data",
        "chapter",
        numbered=False,
        examples=("demo", "demo few-labels", "demo --identities 40 --epochs 3 --out runs/short-demo"),
    )

    chapter: Literal["distillation", "few-labels"] = "distillation"
    out: Path = Path("runs/demo")
    identities: Annotated[int, Range(2, 100_000)] = 120
    epochs: Annotated[int, Range(1, 10_000)] = 6
    seed: Annotated[int, Range(0, 999_999)] = 1
