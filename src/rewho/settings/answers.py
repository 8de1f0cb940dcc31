"""Settings of the commands that answer a question: `look`, `doctor` and `search`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rewho.settings.fields import Batch, Command, Range, Runtime
from rewho.settings.training import DeviceSettings


@dataclass(frozen=True)
class LookSettings:
    """Settings of `rewho look`.

    Args:
        path: A file or folder of any kind.
    """

    command = Command(
        "look",
        "what a file or folder is, what is odd about it, and what to do with it",
        "path",
        examples=("look people", "look runs/train", "look weights.safetensors"),
    )

    path: Path = Path()


@dataclass(frozen=True)
class DoctorSettings:
    """Settings of `rewho doctor`.

    Args:
        json: Print the answer as JSON.
    """

    command = Command(
        "doctor",
        "what this installation can do: versions, devices, codecs, extras; for bug reports",
        examples=("doctor", "doctor --json", "doctor --json --quiet"),
    )

    json: bool = False


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `rewho search`.

    Args:
        queries: Images of the people to search for, one person each.
        gallery: What is searched, also as --in: a folder of images with its sub-folders, a crop set, or the folder of
            `rewho embed`.
        model: Model folder, or the name of a model that comes with rewho (`rewho models`); empty takes the model that
            the embeddings of `rewho embed` were made with, else starter.
        out: Folder of the table, the sheet of images and the page.
        count: Number of images to find for each query.
        cache: Folder that keeps the gallery's embeddings for later searches.
        flip: Average the embeddings of an image and its mirror image.
        batch: Images per forward pass.
        engine: Device.
        runtime: What computes embeddings on a CPU: auto (ONNX Runtime for 1,000 images or more where the extra `export`
            is installed, else torch), torch, onnxruntime or openvino; all give the same within 1e-5.
    """

    command = Command(
        "search",
        "find the images of a folder, crop set or embeddings that look most like the people in images",
        "queries",
        short={"in": "gallery"},
        examples=(
            "search query.jpg --in people",
            "search a.jpg b.jpg --in crops --model runs/train --count 20",
            "search query.jpg --in runs/embed",
        ),
        required="queries gallery",
    )

    queries: tuple[Path, ...] = ()
    gallery: Path | None = None
    model: Path | None = None
    out: Path = Path("runs/search")
    count: Annotated[int, Range(1, 1_000)] = 10
    cache: Path = Path("runs/search-embeddings")
    flip: bool = True
    batch: Batch = 64
    engine: DeviceSettings = field(default_factory=DeviceSettings)
    runtime: Runtime = "auto"
