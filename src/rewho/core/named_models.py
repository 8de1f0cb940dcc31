"""Detectors and keypoint models of other projects, by name: where each file is, its hash, size and licence.

`rewho models get NAME` downloads one into the cache; `--detector NAME` and `--pose NAME` find it there. The sizes and
hashes are those of the publisher's own records (Git LFS pointers) or of the file itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, check_choice

CACHE_VARIABLE = "REWHO_CACHE"
_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/966be4cb6eefc2a4f586ed0581bf4bbaa2533070/models"
_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_RELEASE_HOSTS = ("release-assets.githubusercontent.com", "objects.githubusercontent.com")


@dataclass(frozen=True)
class NamedModel:
    """A model file of another project.

    Args:
        name: Its name here.
        kind: What it does.
        address: Where its publisher offers it.
        size: Its length in bytes.
        sha256: Its hash.
        licence: SPDX identifier of the terms of its repository.
        about: What it is, and its authors' figure.
        hosts: Other hosts that the address may redirect to.
    """

    name: str
    kind: Literal["detector", "pose"]
    address: str
    size: int
    sha256: str
    licence: str
    about: str
    hosts: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The name of its file in the cache."""
        return f"{self.name}.onnx"

    def by_hand(self, folder: Path) -> str:
        """Return how to get the file without this program."""
        return f"fetch {self.address} by hand, and save it as {folder / self.file} ({self.size:,} bytes)"


NAMED_MODELS = {
    model.name: model
    for model in (
        NamedModel(
            "yolox-nano",
            "detector",
            f"{_YOLOX}/yolox_nano.onnx",
            3_659_407,
            "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
            "Apache-2.0",
            "YOLOX-Nano, 416 x 416; its authors: COCO AP 25.8. The fastest, weak in crowds",
            _RELEASE_HOSTS,
        ),
        NamedModel(
            "yolox-tiny",
            "detector",
            f"{_YOLOX}/yolox_tiny.onnx",
            20_219_662,
            "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
            "Apache-2.0",
            "YOLOX-Tiny, 416 x 416; its authors: COCO AP 32.8",
            _RELEASE_HOSTS,
        ),
        NamedModel(
            "yolox-s",
            "detector",
            f"{_ZOO}/object_detection_yolox/object_detection_yolox_2022nov.onnx",
            35_858_002,
            "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
            "Apache-2.0",
            "YOLOX-S of OpenCV's model zoo, 640 x 640; its authors: COCO AP 40.5",
        ),
        NamedModel(
            "yolox-m",
            "detector",
            f"{_YOLOX}/yolox_m.onnx",
            101_259_744,
            "21ff6cfdeb53b013bac2249599e55f00bff3cfdfdab37ed7a4620818c1d15b3f",
            "Apache-2.0",
            "YOLOX-M, 640 x 640; its authors: COCO AP 46.9. The slowest",
            _RELEASE_HOSTS,
        ),
        NamedModel(
            "mediapipe-pose",
            "pose",
            f"{_ZOO}/pose_estimation_mediapipe/pose_estimation_mediapipe_2023mar.onnx",
            5_557_238,
            "9d89c599319a18fb7d2e28451a883476164543182bafca5f09eb2cf767ed2f3f",
            "Apache-2.0",
            "MediaPipe Pose of OpenCV's model zoo, 256 x 256, 33 keypoints of one person",
        ),
    )
}


def models_folder() -> Path:
    """Return the folder of downloaded models: in REWHO_CACHE, else XDG_CACHE_HOME, else ~/.cache.

    Example:
        >>> models_folder().name
        'models'
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser() / "models"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "rewho" / "models"


def find_named(name: str, option: str) -> Path:
    """Return the downloaded file of a named model, after checking its hash.

    Args:
        name: Name of the model.
        option: The option that names it, for messages.

    Raises:
        UserError: It is not downloaded, or not the file that was published.
    """
    model = NAMED_MODELS[check_choice(option, name, list(NAMED_MODELS))]
    path = models_folder() / model.file
    if not path.is_file():
        fix = f"Run `rewho models get {name}`, or {model.by_hand(path.parent)}."
        raise UserError(f"{option} {name}", expected=f"its file at {path}", got="nothing there", fix=fix)
    check_file(model, path)
    return path


def check_file(model: NamedModel, path: Path) -> None:
    """Raise a UserError if a file is not the one that was published."""
    if (got := hash_file(path)) != model.sha256:
        fix = f"Delete it and run `rewho models get {model.name}`. If that gives the same bytes, do not use them."
        raise UserError(str(path), expected=f"a file of sha256 {model.sha256}", got=f"sha256 {got}", fix=fix)
