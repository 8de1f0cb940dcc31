"""Images → embeddings, with any model; a thread decodes and resizes images while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewho.core.artifact import hash_file
from rewho.core.check import UserError, check_choice, check_flag
from rewho.core.device import arithmetic, pick_device
from rewho.core.shipped import open_model
from rewho.data.view_file import read_view
from rewho.data.views import View, box_of
from rewho.embedding.images import Image, as_list, pixels_of, prefetch, resized_batches
from rewho.embedding.runtime import Runner
from rewho.embedding.saved import open_saved
from rewho.models.factorization import Factorization
from rewho.models.single_view import SingleViewModel
from rewho.settings import DeviceSettings
from rewho.settings.fields import Device, Runtime, check


def view_of(model: SingleViewModel) -> View:
    """Return a model's view at the model's input size; raise a UserError if the view's file has another box by now."""
    view = read_view(model.settings.view)
    if model.box and model.box != box_of(view):
        expected = f"the box that the model was trained with: {', '.join(model.box)} (top, bottom, left, right)"
        fix = "Put the view's file back as it was, or train a model for the new box."
        raise UserError(f"view {model.settings.view}", expected=expected, got=", ".join(box_of(view)), fix=fix)
    return View(view.name, view.top, view.bottom, view.left, view.right, model.input_size, view.mask)


def embed_batches(
    model: nn.Module, batches: Iterable[NDArray[np.uint8]], device: torch.device, *, flip: bool = True, threads: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Yield embeddings float32 [N, D], not normalised, of batches uint8 RGB [N, H, W, 3] at the model's input size.

    In full precision also during a training; with `flip`, averaged with the mirror image's (FD section 4.1).
    """
    for batch in prefetch(batches):
        with torch.inference_mode(), arithmetic(threads):
            images = torch.from_numpy(batch).to(device, non_blocking=True).permute(0, 3, 1, 2)
            embeddings: Tensor = model(images)
            if flip:
                embeddings = (embeddings + model(images.flip(-1))) / 2
            vectors: NDArray[np.float32] = embeddings.float().cpu().numpy()
        yield vectors


@dataclass(frozen=True)
class Embedder:
    """A loaded model, ready to embed images.

    Args:
        model: The network, in evaluation mode.
        description: Content of its `model.json`; empty for a model in training.
        device: The network's device.
        threads: CPU threads; 0 keeps torch's default.
        weights: Files that hold the weights.
        branches: The branches of its distillation, on `device`; None if there are none or they were not loaded.
        runner: What computes it; None is torch.
    """

    model: SingleViewModel
    description: dict[str, Any]
    device: torch.device
    threads: int = 0
    weights: tuple[Path, ...] = ()
    branches: Factorization | None = None
    runner: Runner | None = None

    @property
    def runtime(self) -> str:
        """The library that computed the last embeddings: torch, onnxruntime or openvino."""
        return self.runner.name if self.runner else "torch"

    @property
    def view(self) -> View:
        """What of an image the network sees, and the size of its input."""
        return view_of(self.model)

    def __repr__(self) -> str:
        """Return architecture, embedding size, input size, device and source, on one line."""
        settings, (height, width) = self.model.settings, self.model.input_size
        source = f", from {self.weights[0].parent}" if self.weights else ""
        return (
            f"Embedder({settings.kind} on {settings.backbone}, {settings.embedding} numbers an image, "
            f"input {height} x {width}, {self.device}{source})"
        )

    def identity(self) -> dict[str, Any]:
        """Return what the embeddings depend on: the hash of the weights, and the view."""
        return {"model": hash_file(self.weights[0])} | view_of(self.model).inputs()

    def embed(
        self,
        images: Image | Iterable[Image],
        *,
        flip: bool = True,
        batch: int = 64,
        done: Callable[[int], None] = lambda count: None,
        of: int = 0,
    ) -> NDArray[np.float32]:
        """Return one embedding for each image.

        Args:
            images: One image or several, one person each: files, encoded bytes, PIL images, or uint8 RGB arrays
                [H, W, 3] of any size.
            flip: Average the embeddings of an image and its mirror image.
            batch: Images at a time.
            done: Called with the number of images of each finished batch.
            of: Images of the whole work of which these are a part, so that one library computes all; 0 is these alone.

        Returns:
            float32 [N, D], not normalised; compare with the cosine.

        Raises:
            UserError: No images, or one that cannot be read; says which.
        """
        parts = []
        for part in self.stream(as_list(images), flip=flip, batch=batch, of=of):
            parts.append(part)
            done(len(part))
        return np.concatenate(parts)

    def stream(
        self, images: Image | Iterable[Image], *, flip: bool = True, batch: int = 64, of: int = 0
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the embeddings of `embed`, [at most `batch`, D] at a time, so that few are in memory."""
        images, flip = as_list(images), check_flag("flip", flip)
        view = self.view
        batches = resized_batches(images, batch, view, lambda image: self._pixels(image, view))
        first = next(batches)
        network = self.runner.network(max(of, len(images)), first) if self.runner else self.model
        yield from embed_batches(network, chain([first], batches), self.device, flip=flip, threads=self.threads)

    def _pixels(self, image: Image, view: View) -> NDArray[np.uint8]:
        """Return an image's pixels, masked if the view has masks, which are found by the image's name."""
        if view.mask is None:
            return pixels_of(image, view.least)
        pixels = pixels_of(image)
        if not isinstance(image, str | Path):
            expected = f"files, because the view {view.name!r} looks up masks by their names"
            fix = "Pass paths, or mask the images yourself and use a view without masks."
            raise UserError("images to embed", expected=expected, got="arrays", fix=fix)
        return view.masked(pixels, str(image), self.model.mean.tolist())


def load(
    path: str | Path, device: Device = "auto", threads: int = 0, runtime: Runtime = "auto", *, branches: bool = False
) -> Embedder:
    """Load a model for embedding.

    Args:
        path: A model folder; the name of a model that comes with rewho, such as starter; an unfinished run, whose
            newest checkpoint is used; or one checkpoint of a run.
        device: auto, cpu or cuda.
        threads: CPU threads; 0 keeps torch's default.
        runtime: The library that computes: auto, torch, onnxruntime or openvino; see `runtime.py`.
        branches: Load the branches of its distillation too, to show where they look.

    Raises:
        UserError: No model there, a damaged one, no such device, or its view's file has another box by now.
    """
    engine = DeviceSettings(device, threads)
    check_choice("runtime", runtime, get_args(Runtime))
    check(engine, "")
    if not isinstance(path, str | Path) or not str(path):
        raise UserError(
            "model", expected="a model folder", got=f"{path!r:.100}", fix="Pass the folder of `rewho train`."
        )
    saved = open_saved(open_model(path), branches=check_flag("branches", branches))
    view_of(saved.model)
    loaded = embedder(saved.model, engine, saved.description)
    moved = None if saved.branches is None else saved.branches.to(loaded.device)
    runner = Runner(loaded.model, loaded.device, threads, runtime)
    return replace(loaded, weights=saved.weights, branches=moved, runner=runner)


def embedder(model: SingleViewModel, engine: DeviceSettings, description: dict[str, Any] | None = None) -> Embedder:
    """Move a model to its device, in evaluation mode and in the memory format in which convolutions are fastest."""
    device = pick_device(engine.device)
    model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Embedder(model, description or {}, device, engine.threads)
