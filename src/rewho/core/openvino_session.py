"""OpenVINO with the few methods of ONNX Runtime's session that `OnnxSession` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.check import UserError

TYPES = {"f32": "float", "f16": "float16", "f64": "double", "u8": "uint8", "u16": "uint16", "i16": "int16"}
TYPES |= {"i32": "int32", "i64": "int64", "boolean": "bool", "string": "string"}


class Port(NamedTuple):
    """An input or output: its name, its type as ONNX Runtime writes it, and its sides, None where variable."""

    name: str
    type: str
    shape: list[int | None]


class OpenVinoSession:
    """An ONNX file that OpenVINO runs, on the CPU and in full precision, which it would not choose everywhere.

    Args:
        source: The file, or its content.
        threads: CPU threads; 0 keeps OpenVINO's default.
    """

    def __init__(self, source: Path | bytes, threads: int = 0) -> None:
        import openvino

        core = openvino.Core()
        network = core.read_model(source) if isinstance(source, Path) else core.read_model(source, b"")
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._compiled: Any = core.compile_model(network, "CPU", properties)

    def get_inputs(self) -> list[Port]:
        """Return the inputs."""
        return [_port(one) for one in self._compiled.inputs]

    def get_outputs(self) -> list[Port]:
        """Return the outputs."""
        return [_port(one) for one in self._compiled.outputs]

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """Return outputs, all of them without names."""
        found = self._compiled.create_infer_request().infer(dict(feeds))
        return [found[name].copy() for name in names or [one.name for one in self.get_outputs()]]


def require_openvino(what: str) -> None:
    """Raise a UserError if OpenVINO is not installed."""
    try:
        import openvino  # noqa: F401 - whether it is there
    except ImportError as error:
        fix = "pip install openvino, or choose another runtime."
        raise UserError(what, expected="the package openvino", got="an installation without it", fix=fix) from error


def _port(port: Any) -> Port:  # noqa: ANN401 - openvino's
    shape = port.get_partial_shape()
    sides = [side.get_length() if side.is_static else None for side in shape]
    kind = port.get_element_type().get_type_name()
    return Port(port.get_any_name(), f"tensor({TYPES.get(kind, kind)})", sides)
