"""A network as the content of an ONNX file; onnx and onnxscript are imported on demand.

torch writes names of modules, lines of source and paths of this installation beside every operator. They are removed:
the same model gives the same bytes wherever it is exported.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

import torch

from rewho.core.check import UserError, install
from rewho.models.graph import INPUT, OUTPUT, EmbeddingGraph, describe_failure

OPSET = 18  # what torch writes without converting, and onnxruntime has read since 1.14
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def find_missing_packages() -> list[str]:
    """Return the packages that writing and running an ONNX file needs and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def check_packages(what: str = "--format onnx") -> None:
    """Check that the packages for an ONNX export are installed; `what` needs them."""
    if missing := find_missing_packages():
        raise UserError(
            what,
            expected=f"the packages {', '.join(PACKAGES)}",
            got=f"an installation without {', '.join(missing)}",
            fix=install("export"),
        )


def onnx_bytes(graph: EmbeddingGraph, metadata: Mapping[str, Any]) -> bytes:
    """Return the content of an ONNX file with the network, its weights and metadata (as JSON), for any batch size."""
    try:
        program = torch.onnx.export(
            graph,
            graph.example(),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: "batch"}},
            opset_version=OPSET,
            external_data=False,
        )
        assert program is not None, "the exporter returns a program with dynamo=True"
        file = program.model_proto
        content = file.graph
        for entry in (file, content, *content.node, *content.input, *content.output, *content.initializer):
            entry.ClearField("metadata_props")
        content.ClearField("value_info")
        for name, value in metadata.items():
            file.metadata_props.add(key=name, value=json.dumps(value))
        written: bytes = file.SerializeToString(deterministic=True)
    except Exception as error:  # tracing fails in as many ways as there are operators
        raise describe_failure(graph, "an ONNX file", error) from error
    return written
