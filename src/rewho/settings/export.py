"""Settings of `rewho export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rewho.settings.data import DataSettings
from rewho.settings.fields import Batch, Command, Mistake, Range

ExportFormat = Literal["onnx", "pt2"]
FEWEST = 32
"""Images with which a file of whole numbers can be calibrated at least."""


@dataclass(frozen=True)
class CalibrationSettings:
    """How the ranges of the numbers in an int8 file are found.

    Args:
        images: Folder or crop set of images like those that the file will see; labels are not needed.
        count: Images taken from it, evenly spaced.
        method: minmax (the largest values that occur), percentile (99.99 % of the values) or entropy.
        reduce_range: Use 7 bits for the weights, for processors without VNNI, on which sums of 8 bits overflow.
    """

    images: Path | None = None
    count: Annotated[int, Range(FEWEST, 100_000)] = 256
    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    reduce_range: bool = False


@dataclass(frozen=True)
class ExportTestSettings(DataSettings):
    """Labelled data set on which the int8 file is compared with the model, and how its images are loaded.

    Args:
        root: Folder of the data set, or a CSV file; empty compares on the calibration's images only.
    """

    root: Path | None = None  # type: ignore[assignment] # a training always has a data set


@dataclass(frozen=True)
class ExportSettings:
    """Settings of `rewho export`.

    Args:
        model: Model folder.
        out: Folder for the exported file, model.json and README.md.
        format: onnx, or pt2 (torch.export, the successor of TorchScript).
        flip: Average the embeddings of an image and its mirror image inside the file; halves its speed.
        unit: Give the embeddings unit length inside the file, so that their product is the cosine.
        int8: Compute with whole numbers of 8 bits: smaller and faster on a CPU, a little less exact.
        calibration: With `int8`, where the ranges of the numbers come from.
        data: With `int8`, labelled data set to measure mAP before and after.
        force: Keep an int8 file also if it loses more than half a point of mAP, or if its embeddings collapse.
        check: Folder of images on which file and model are compared; rendered people by default.
        batch: Images per forward pass of the comparison.
    """

    command = Command(
        "export",
        "write a model as an ONNX file that runs without rewho, and verify its outputs",
        "model",
        common="model out format flip unit int8 calibration.images data.root data.hold_out force check batch",
        examples=(
            "export runs/train",
            "export runs/train --check people --flip",
            "export runs/train --int8 --calibration.images crops --data people --hold_out 20",
        ),
    )

    model: Path = Path("model")
    out: Path = Path("runs/export")
    format: ExportFormat = "onnx"
    flip: bool = False
    unit: bool = False
    int8: bool = False
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    data: ExportTestSettings = field(default_factory=ExportTestSettings)
    force: bool = False
    check: Path | None = None
    batch: Batch = 64

    def mistakes(self) -> Iterator[Mistake]:
        """Yield broken rules between fields."""
        if self.int8 and self.format != "onnx":
            yield Mistake("format", "onnx with --int8", "Leave it out.")
        if self.int8 and self.calibration.images is None:
            fix = "Pass {at}calibration.images with a folder of images like those that the file will see."
            yield Mistake("calibration.images", "images to calibrate on, with --int8", fix)
        if not self.int8 and (self.calibration.images is not None or self.data.root is not None or self.force):
            yield Mistake("int8", "true with calibration, data or force", "Pass {at}int8, or leave those out.")
