"""Opening, checking and running of ONNX files that take images.

The file determines which input takes the images, in which layout and number type. A second input of image sizes, as in
RT-DETR and D-FINE, gets the size of the input. Weights may be in files beside it, whose names are read from the file's
bytes, so that the package onnx is not needed.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rewho.core.artifact import digest, hash_file
from rewho.core.check import UserError, install
from rewho.core.device import use_cuda
from rewho.core.files import check_regular
from rewho.core.openvino_session import OpenVinoSession, require_openvino
from rewho.core.text import quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
INTEGERS = {f"tensor({name})": name for name in ("uint8", "uint16", "int16", "int32", "int64")}
LAYOUTS = {"NCHW": 1, "NHWC": 3}
"""Layouts of an input, with the axis of the 3 channels."""
LARGEST_SIDE = 8192  # pixels; one larger image fills the memory
EXTERNAL = rb"\n\x08location\x12"
"""Bytes before the name of a file of weights. They are an entry's key, 8 letters long, and the tag of its value
(StringStringEntryProto of onnx.proto)."""


class OnnxSession:
    """An opened ONNX file that takes batches of images.

    Args:
        path: The file.
        what: What it is, for messages: an option, or `teacher NAME`.
        layout: NCHW or NHWC; empty reads it from the file.
        device: auto, cpu or cuda.
        threads: CPU threads; 0 keeps the library's default.
        runtime: onnxruntime, or openvino, which runs on the CPU.
        content: The file's bytes where there is no file, and `path` only names it.

    Attributes:
        sha256: Hash of the file and of the files beside it that hold its weights.
        size: Height and width of the input; None if variable.
        takes_bytes: Whether the input is of an integer type: pixels from 0 to 255.
        outputs: Names of the outputs.
        metadata: The file's metadata by name, such as `names`.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        *,
        layout: str = "",
        device: str = "auto",
        threads: int = 0,
        runtime: str = "onnxruntime",
        content: bytes | None = None,
    ) -> None:
        self.path, self._what, self.runtime = path, what, runtime
        source, self.sha256 = (content, hashlib.sha256(content).hexdigest()) if content else _read(path, what)
        opened = _open_openvino if runtime == "openvino" else _open_onnxruntime
        self._session = opened(source, f"{what} {path}", device, threads)
        image, self._sizes = _inputs(self._session.get_inputs(), f"{what} {path}")
        shape = [side if isinstance(side, int) and side > 0 else None for side in image.shape]
        self.layout = _layout(shape, layout, f"{what} {path}")
        self._image, self._batch = image.name, shape[0]
        self._type = {**FLOATS, **INTEGERS}[image.type]
        self.takes_bytes = image.type in INTEGERS
        sides = shape[1:3] if self.layout == "NHWC" else shape[2:4]
        self.size: tuple[int | None, int | None] = (sides[0], sides[1])
        self.outputs = [entry.name for entry in self._session.get_outputs()]
        about = self._session.get_modelmeta().custom_metadata_map if runtime == "onnxruntime" else {}
        self.metadata: dict[str, str] = dict(about)

    def run(self, images: NDArray[Any], names: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Return outputs for images [B, H, W, 3], each with one row per image or a scalar.

        A file with a fixed batch size is run in steps of that size. A file that fails on its variable batch size is run
        with one image at a time.

        Args:
            images: Preprocessed images; converted to the input's number type here.
            names: Outputs to return; None for all.
        """
        import numpy as np

        whole = images if self.layout == "NHWC" else images.transpose(0, 3, 1, 2)
        tensor = np.ascontiguousarray(whole.astype(self._type, copy=False))
        try:
            return self._run_in_steps(tensor, self._batch or len(tensor), names)
        except UserError:
            if self._batch or len(tensor) == 1:
                raise
            found = self._run_in_steps(tensor, 1, names)
            self._batch = 1
            return found

    def _run_in_steps(self, tensor: NDArray[Any], step: int, names: Sequence[str] | None) -> list[NDArray[Any]]:
        import numpy as np

        parts = []
        for start in range(0, len(tensor), step):
            part = tensor[start : start + step]
            full = np.concatenate([part, np.repeat(part[-1:], step - len(part), 0)]) if len(part) < step else part
            parts.append([one[: len(part)] if one.ndim else one for one in self._run(full, names)])
        return [_joined(column) for column in zip(*parts, strict=True)]

    def _run(self, full: NDArray[Any], names: Sequence[str] | None) -> list[NDArray[Any]]:
        import numpy as np

        height, width = full.shape[1:3] if self.layout == "NHWC" else full.shape[2:4]
        feeds: dict[str, Any] = {self._image: full}
        for name, kind in self._sizes.items():
            feeds[name] = np.tile(np.array([width, height], kind), (len(full), 1))
        try:
            found = [np.asarray(one) for one in self._session.run(names, feeds)]
        except Exception as error:  # onnxruntime's errors have no common class of their own
            expected = f"a network that takes {quantity(len(full), 'images')} of {height} x {width}"
            fix = "Check the input's size, type and batch, or export the network again."
            raise UserError(f"{self._what} {self.path}", expected=expected, got=_first_line(error), fix=fix) from error
        if any(one.dtype == object or (one.ndim and len(one) != len(full)) for one in found):
            raise UserError(
                f"{self._what} {self.path}",
                expected="outputs with one row per image",
                got=f"the shapes {', '.join(str(list(one.shape)) for one in found)} for "
                + quantity(len(full), "images"),
                fix="Export the network with the batch as first side of every output.",
            )
        return found


def _joined(column: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of several runs as one array; shorter lists of detections are padded with zeros."""
    import numpy as np

    if not column[0].ndim:
        return column[0]
    if column[0].ndim >= 2 and len({one.shape[2:] for one in column}) == 1:
        most = max(one.shape[1] for one in column)
        rest = [(0, 0)] * (column[0].ndim - 2)
        column = [np.pad(one, [(0, 0), (0, most - one.shape[1]), *rest]) for one in column]
    return np.concatenate(column)


def _inputs(inputs: Sequence[Any], what: str) -> tuple[Any, dict[str, str]]:
    """Return the input that takes images, and the number type of each input that takes their sizes."""
    kinds = {**FLOATS, **INTEGERS}
    images = [one for one in inputs if one.type in kinds and len(one.shape) == 4]
    sizes = {
        one.name: kinds[one.type]
        for one in inputs
        if one.type in kinds and len(one.shape) == 2 and "size" in one.name.lower() and one.shape[1] in (2, None)
    }
    if len(images) != 1 or len(images) + len(sizes) != len(inputs):
        raise UserError(
            what,
            expected="one input of images [N, 3, H, W] or [N, H, W, 3], and at most one of their sizes [N, 2]",
            got="; ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs) or "no input",
            fix="Export the network with the images as its only input.",
        )
    return images[0], sizes


def _layout(shape: Sequence[int | None], wanted: str, what: str) -> str:
    """Return the layout of an input; fail without 3 channels, or if a side is too large."""
    possible = [name for name, side in LAYOUTS.items() if shape[side] in (3, None)]
    sure = [name for name in possible if shape[LAYOUTS[name]] == 3]
    layout = wanted or (sure or possible or [""])[0]
    sides = [side for at, side in enumerate(shape) if at and at != LAYOUTS.get(layout)]
    if layout not in possible or any(side is not None and side > LARGEST_SIDE for side in sides):
        expected = f"3 channels {f'as {wanted}' if wanted else 'first or last'}, sides of at most {LARGEST_SIDE}"
        fix = "Correct `layout`, or use a network for colour images."
        raise UserError(what, expected=expected, got=f"an input of the shape {list(shape)}", fix=fix)
    return layout


def weights_beside(path: Path, what: str) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights; fail if one is missing or in another folder."""
    if not path.stat().st_size:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        names = {_text_at(content, found.end()) for found in re.finditer(EXTERNAL, content)}
    for name in sorted(names):
        inside = name and "\0" not in name and not PurePosixPath(name).is_absolute() and ".." not in Path(name).parts
        if not inside or not (path.parent / name).is_file():
            raise UserError(
                f"{what} {path}",
                expected="its weights in it, or in files beside it",
                got=f"{name!r}, which is {'not there' if inside else 'no file beside it'}",
                fix="Copy that file too, or export the model again as one file.",
            )
    return [path.parent / name for name in sorted(names)]


def _text_at(content: mmap.mmap, start: int) -> str:
    """Return protobuf's text at `start`, after its length: a varint of seven bits per byte, lowest first."""
    length = shift = 0
    for at in range(start, min(start + 5, len(content))):
        length |= (content[at] & 127) << shift
        shift += 7
        if content[at] < 128:
            return content[at + 1 : at + 1 + min(length, 4096)].decode("utf-8", "surrogateescape")
    return ""


def _read(path: Path, what: str) -> tuple[Path | bytes, str]:
    """Return a file's content, or its path where weights lie beside it, and the hash of all its files."""
    if not path.is_file():
        raise UserError(f"{what} {path}", expected="an ONNX file", got="no such file", fix="Check the path.")
    check_regular(path, what=f"{what} {path}", expected="an ONNX file")
    beside = weights_beside(path, what)
    hashes = [hash_file(file) for file in (path, *beside)]
    # From memory if possible, because onnxruntime cannot open every file name.
    return (path, digest(hashes)) if beside else (path.read_bytes(), hashes[0])


def _open_onnxruntime(source: Path | bytes, what: str, device: str, threads: int) -> Any:  # noqa: ANN401 - a session
    try:
        import onnxruntime
    except ImportError as error:
        fix = install("export")
        raise UserError(what, expected="the package onnxruntime", got="an installation without it", fix=fix) from error
    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    cuda = use_cuda(device, there, f"device of {what}", "pip install onnxruntime-gpu, or choose cpu.")
    wanted = ["CUDAExecutionProvider"] if cuda else []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Spinning threads would take the CPU from the decoder and from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=[*wanted, "CPUExecutionProvider"],
        )
    except Exception as error:  # as above
        raise _damaged(what, error) from error


def _open_openvino(source: Path | bytes, what: str, device: str, threads: int) -> Any:  # noqa: ANN401 - a session
    require_openvino(what)
    use_cuda(device, available=False, option=f"device of {what}", fix="Choose cpu, or the runtime onnxruntime.")
    try:
        return OpenVinoSession(source, threads)
    except Exception as error:  # as above
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> UserError:
    fix = "Export it again, or copy it again."
    return UserError(what, expected="a sound ONNX file", got=_first_line(error), fix=fix)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0][:200]}"
