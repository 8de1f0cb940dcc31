"""An ONNX file as a module of torch: tensors in, one tensor out. onnxruntime is imported when the first one is opened.

Unusual: a file with a fixed batch is fed in pieces of that size, the last one filled up with zeros. A file whose input
is uint8, as `rewho export` writes them, gets the pictures' bytes and normalises them itself. And a file may keep its
weights in others beside it; which ones is read from its bytes, so that the package onnx is not needed.
"""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewho.core.artifact import digest, hash_file
from rewho.core.check import UserError, check_choice

INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
EXTERNAL = rb"\n\x08location\x12"
"""What stands before the name of a file of weights, in the bytes of an ONNX file: an entry's key, 8 letters long, and
the tag of its value (StringStringEntryProto of onnx.proto)."""


class OnnxNetwork(nn.Module):
    """An ONNX file that takes pictures.

    Args:
        path: The file.
        layout: NCHW or NHWC: how its input lies in memory.
        output: Name of the output that is returned; empty takes the first.
        on_gpu: Compute on the GPU where onnxruntime can.

    Attributes:
        input_size: Height and width where the file fixes them, else None.
        takes_bytes: Whether it takes pixels from 0 to 255 and normalises them itself.

    Raises:
        UserError: onnxruntime is not installed, no such file, a damaged one, or one that does not take one batch of
            pictures, floating-point or bytes.
    """

    def __init__(self, path: Path, layout: str = "NCHW", output: str = "", *, on_gpu: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self._session = _open(path, on_gpu)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in INPUTS:
            raise UserError(
                f"network {path}",
                expected="one input of pictures [N, 3, H, W] or [N, H, W, 3], floating point or uint8",
                got="; ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs),
                fix="Export the network with one input; with the normalisation inside only where it takes bytes.",
            )
        self._input, shape = inputs[0].name, list(inputs[0].shape)
        self._type = INPUTS[inputs[0].type]
        self.takes_bytes = self._type is np.uint8
        self.batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        height, width = shape[1:3] if layout == "NHWC" else shape[2:4]
        self.input_size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        names = [entry.name for entry in self._session.get_outputs()]
        self._output = check_choice(f"output of {path}", output, names) if output else names[0]

    def metadata(self, name: str) -> list[float] | None:
        """Return a list of numbers from the file's own metadata, such as `mean`; None where it has none."""
        text = self._session.get_modelmeta().custom_metadata_map.get(name)
        try:
            value = None if text is None else json.loads(text)
        except ValueError:
            return None
        return value if isinstance(value, list) else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the output for pictures [N, 3, H, W], normalised unless it takes bytes, on the same device."""
        pictures = images.permute(0, 2, 3, 1) if self.layout == "NHWC" else images
        array = np.ascontiguousarray(pictures.cpu().numpy().astype(self._type))
        step = self.batch or len(array)
        parts = []
        for start in range(0, len(array), step):
            part = array[start : start + step]
            lacking = step - len(part)
            filled = np.concatenate([part, np.zeros((lacking, *part.shape[1:]), part.dtype)]) if lacking else part
            (found,) = self._session.run([self._output], {self._input: filled})
            parts.append(torch.from_numpy(np.asarray(found, np.float32)[: len(part)]))
        return torch.cat(parts).to(images.device)


def hash_onnx(path: Path) -> str:
    """Return the sha256 of an ONNX file and of the files beside it that hold its weights, where there are any."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        weights = {_text_at(content, found.end()) for found in re.finditer(EXTERNAL, content)}
    own = hash_file(path)
    return digest([own, *(hash_file(path.parent / name) for name in sorted(weights))]) if weights else own


def _text_at(content: mmap.mmap, start: int) -> str:
    """Return the text that protobuf holds at `start`, after its length: seven bits a byte, the lowest first."""
    length = shift = 0
    while content[start] & 128:
        length |= (content[start] & 127) << shift
        start, shift = start + 1, shift + 7
    length |= content[start] << shift
    return content[start + 1 : start + 1 + length].decode("utf-8", "surrogateescape")


def _open(path: Path, on_gpu: bool) -> Any:  # noqa: ANN401 - onnxruntime has no types
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"network {path}",
            expected="the package onnxruntime",
            got="an installation without it",
            fix="Install it with: pip install 'rewho[export]', or in a clone: uv sync --extra export",
        ) from error
    if not path.is_file():
        raise UserError(f"network {path}", expected="an ONNX file", got="no such file", fix="Check the path.")
    there = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider"] if on_gpu and "CUDAExecutionProvider" in there else []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise UserError(
            f"network {path}",
            expected="a whole ONNX file",
            got=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
            fix="Export it again, or copy it again.",
        ) from error
