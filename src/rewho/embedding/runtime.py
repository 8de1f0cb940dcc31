"""Which library computes a network on a CPU: torch, or one that is faster and runs the network as traced at the start.

Tracing takes two to five seconds, and an image two to twenty milliseconds less afterwards. So without a wish, ONNX
Runtime computes from `LEAST` images on, where its packages are installed, and torch computes fewer. Nothing is stored:
a traced network is as much of a copy of the model as a file would be, and ends with the process.

Before it is used, its embeddings of the first images are compared with torch's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rewho.core.check import UserError
from rewho.core.onnx_session import OnnxSession
from rewho.core.progress import say
from rewho.embedding.onnx_network import OnnxNetwork
from rewho.models.graph import EmbeddingGraph
from rewho.models.single_view import SingleViewModel
from rewho.models.traced import check_packages, find_missing_packages, onnx_bytes
from rewho.settings.fields import Runtime

LEAST = 1_000
"""Images from which on tracing pays: with 1,000 the smallest network gains what it cost, others several times that."""
COMPARED = 8
LARGEST_DIFFERENCE = 1e-5
"""Of a number of an embedding of unit length."""
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


class Runner:
    """Gives the network that computes embeddings: the model itself, or the same traced.

    Args:
        model: The network, in evaluation mode.
        device: Its device; a GPU computes with torch.
        threads: CPU threads; 0 keeps torch's default.
        wanted: auto, torch, onnxruntime or openvino.
        note: Takes the sentence on what computes. A training, which traces after every epoch, passes `note_once`.

    Attributes:
        name: The library that computed last.

    Raises:
        UserError: A library other than torch is wanted for a GPU, or is not installed.
    """

    def __init__(
        self,
        model: SingleViewModel,
        device: torch.device,
        threads: int = 0,
        wanted: Runtime = "torch",
        note: Callable[[str], object] = say,
    ) -> None:
        self._model, self._threads, self._wanted, self._note = model, threads, wanted, note
        self._cpu, self.name = device.type == "cpu", "torch"
        self._traced: nn.Module | None = None
        self._refused = False
        self._guard = threading.Lock()
        if wanted in NAMES:
            if not self._cpu:
                fix = "Pass --engine.device cpu, or leave --runtime out."
                raise UserError("--runtime", expected="torch on a GPU", got=wanted, fix=fix)
            check_packages(f"--runtime {wanted}")

    def network(self, count: int, first: NDArray[np.uint8]) -> nn.Module:
        """Return the network for `count` images, of which `first`, uint8 [N, H, W, 3], are some."""
        with self._guard:
            found = self._trace(first[:COMPARED]) if self._pays(count) else None
            self.name = "torch" if found is None else self._library
            return self._model if found is None else found

    @property
    def _library(self) -> str:
        return "openvino" if self._wanted == "openvino" else "onnxruntime"

    def _pays(self, count: int) -> bool:
        if self._wanted in NAMES:
            return True
        if self._wanted == "torch" or not self._cpu or self._refused or count < LEAST:
            return False
        if missing := find_missing_packages():
            self._refused = True
            self._note(f"embedding with torch; ONNX Runtime would be faster, but {', '.join(missing)} is not installed")
        return not missing

    def _trace(self, first: NDArray[np.uint8]) -> nn.Module | None:
        """Return the traced network, made once; None if nobody asked for it and it cannot take the model's place."""
        if self._traced is not None:
            return self._traced
        try:
            content = onnx_bytes(EmbeddingGraph(self._model), {})
            threads = self._threads or torch.get_num_threads()
            session = OnnxSession(
                Path("model"), "network", layout="NCHW", device="cpu", threads=threads, runtime=self._library,
                content=content,
            )  # fmt: skip
            traced = OnnxNetwork(session)
            difference = _difference(self._model, traced, first)
            if difference > LARGEST_DIFFERENCE:
                expected = f"embeddings within {LARGEST_DIFFERENCE:g} of torch's"
                got, fix = f"a difference of {difference:.1e}", "Pass --runtime torch."
                raise UserError(f"--runtime {self._library}", expected=expected, got=got, fix=fix)
        except UserError as error:
            if self._wanted in NAMES:
                raise
            self._refused = True
            self._note(f"embedding with torch, because ONNX Runtime cannot take its place here ({error.got})")
            return None
        within = 10.0 ** math.ceil(math.log10(max(difference, 1e-12)))
        self._note(f"embedding with {NAMES[self._library]}; on {len(first)} images within {within:.0e} of torch")
        self._traced = traced
        return traced


def _difference(model: nn.Module, traced: nn.Module, images: NDArray[np.uint8]) -> float:
    """Return the largest difference between numbers of the two networks' embeddings, each scaled to unit length."""
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        one, other = (nn.functional.normalize(network(pixels).double()) for network in (model, traced))
    return float((one - other).abs().max())
