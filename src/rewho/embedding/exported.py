"""Exported models: ONNX files of `rewho export` as models that embed images, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, check_flag
from rewho.core.files import read_json
from rewho.core.onnx_session import OnnxSession
from rewho.core.shipped import CARD
from rewho.data.views import View
from rewho.embedding.images import Image, as_list, pixels_of, prefetch, resized_batches
from rewho.settings.fields import Device, Runtime

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

SIDES = ("top", "bottom", "left", "right")


def is_exported(path: str | Path) -> bool:
    """Return whether a path is a folder that `rewho export` made, with an ONNX file."""
    return find_exported(Path(path)) is not None


def find_exported(folder: Path) -> Path | None:
    """Return the ONNX file of a folder that `rewho export` made; None for another folder."""
    facts = _facts(folder)
    return folder / str(facts.get("file")) if facts.get("format") == "onnx" else None


def _facts(folder: Path) -> dict[str, Any]:
    """Return what `model.json` says about the export; nothing where the folder holds none."""
    if not (folder / CARD).is_file():
        return {}
    facts = read_json(folder / CARD).get("export")
    return facts if isinstance(facts, dict) else {}


@dataclass(frozen=True)
class ExportedModel:
    """An opened ONNX file of `rewho export`, ready to embed images.

    Args:
        session: The opened file.
        view: What of an image the network sees, and the size of its input.
        mirrored: Whether the file itself takes the mean with the mirror image.
        unit: Whether its embeddings have unit length.
        description: Content of its `model.json`.
    """

    session: OnnxSession
    view: View
    mirrored: bool
    unit: bool
    description: dict[str, Any]

    @classmethod
    def open(
        cls, folder: str | Path, device: Device = "auto", threads: int = 0, runtime: Runtime = "auto"
    ) -> ExportedModel:
        """Open the folder of an export.

        Args:
            folder: What `rewho export` wrote.
            device: auto, cpu or cuda.
            threads: CPU threads; 0 keeps the library's default.
            runtime: openvino, or onnxruntime, which auto means; torch is refused.

        Raises:
            UserError: No export there, a damaged one, or onnxruntime is not installed.
        """
        folder = Path(folder)
        facts = _facts(folder)
        if facts.get("format") != "onnx":
            fix = "Run `rewho export --model MODEL --out FOLDER` first."
            raise UserError(str(folder), expected="the folder of an exported ONNX model", got="another", fix=fix)
        description = read_json(folder / CARD)
        try:
            name, box = str(facts["file"]), facts["input"]["view"]
            height, width = (int(side) for side in facts["input"]["shape"][2:])
            top, bottom, left, right = (Fraction(str(box[side])) for side in SIDES)
            view = View(str(box["name"]), top, bottom, left, right, (height, width))
            mirrored, unit = facts["mean_with_mirror_image"] is True, facts["output"]["unit_length"] is True
            wanted = description["sha256"][name]
        except (KeyError, TypeError, ValueError) as error:
            fix = "Copy the whole folder again, or export the model again."
            got = f"one without {error}"
            raise UserError(str(folder / CARD), expected="a description of an export", got=got, fix=fix) from error
        if "/" in name or not (folder / name).is_file() or hash_file(folder / name) != wanted:
            fix = "Copy the whole folder again."
            got = "another one, or none"
            raise UserError(str(folder), expected=f"the file {name} whose hash is in {CARD}", got=got, fix=fix)
        given: dict[str, Any] = {"device": device, "threads": threads, "runtime": runtime}
        return cls.of_file(folder / name, view, description, mirrored=mirrored, unit=unit, **given)

    @classmethod
    def of_file(
        cls,
        path: Path,
        view: View,
        description: dict[str, Any] | None = None,
        *,
        mirrored: bool = False,
        unit: bool = False,
        device: Device = "auto",
        threads: int = 0,
        runtime: Runtime = "auto",
    ) -> ExportedModel:
        """Open an ONNX file whose description is known; see `open`."""
        if runtime == "torch":
            fix = "Pass the model folder that it was exported from, or leave --runtime out."
            raise UserError(str(path), expected="onnxruntime or openvino", got="--runtime torch", fix=fix)
        library = "openvino" if runtime == "openvino" else "onnxruntime"
        session = OnnxSession(path, "model", layout="NCHW", device=device, threads=threads, runtime=library)
        return cls(session, view, mirrored, unit, description or {})

    @property
    def weights(self) -> tuple[Path, ...]:
        """The file that holds the weights."""
        return (self.session.path,)

    @property
    def runtime(self) -> str:
        """The library that computes: onnxruntime or openvino."""
        return self.session.runtime

    def identity(self) -> dict[str, Any]:
        """Return what the embeddings depend on: the hash of the file, which holds the view's box too."""
        return {"model": self.session.sha256}

    def embed(
        self,
        images: Image | Iterable[Image],
        *,
        flip: bool = True,
        batch: int = 64,
        done: Callable[[int], None] = lambda count: None,
        of: int = 0,
    ) -> NDArray[np.float32]:
        """Return one embedding for each image, as `rewho.load(MODEL).embed` does with the model that was exported.

        Args:
            images: One image or several, one person each: files, encoded bytes, PIL images, or uint8 RGB arrays
                [H, W, 3] of any size.
            flip: Average the embeddings of an image and its mirror image.
            batch: Images at a time.
            done: Called with the number of images of each finished batch.
            of: Without meaning here; see `Embedder.embed`.

        Returns:
            float32 [N, D], of unit length where the file's are; compare with the cosine.

        Raises:
            UserError: No images, one that cannot be read, or a mean that the file cannot leave out.
        """
        del of
        if self.mirrored and not check_flag("flip", flip):
            fix = "Export the model with --flip false."
            expected = "True: the mean with the mirror image is taken inside the file"
            raise UserError("flip", expected=expected, got="False", fix=fix)
        parts = []
        for part in self._stream(as_list(images), flip=flip and not self.mirrored, batch=batch):
            parts.append(part)
            done(len(part))
        return np.concatenate(parts)

    def _stream(self, images: list[Any], *, flip: bool, batch: int) -> Iterator[NDArray[np.float32]]:
        for batched in prefetch(resized_batches(images, batch, self.view, partial(pixels_of, least=self.view.least))):
            (found,) = self.session.run(batched)
            if flip:
                found = (found + self.session.run(batched[:, :, ::-1])[0]) / 2
                if self.unit:
                    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            yield np.asarray(found, np.float32)


def load_model(
    path: str | Path, device: Device = "auto", threads: int = 0, runtime: Runtime = "auto"
) -> ExportedModel | Embedder:
    """Load a model for embedding: an exported one without torch, any other with it; see `embedder.load`.

    Args:
        path: A model folder, the folder of an exported ONNX model, the name of a model that comes with rewho, an
            unfinished run, or one checkpoint of a run.
        device: auto, cpu or cuda.
        threads: CPU threads; 0 keeps the library's default.
        runtime: The library that computes: auto, torch, onnxruntime or openvino.

    Raises:
        UserError: No model there, a damaged one, or no such device.
    """
    if isinstance(path, str | Path) and str(path) and is_exported(path):
        return ExportedModel.open(path, device, threads, runtime)
    from rewho.embedding.embedder import load

    return load(path, device, threads, runtime)
