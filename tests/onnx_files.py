"""Small ONNX files for tests: they give the same output for every image, or the mean colour of their input."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_constant(
    path: Path,
    outputs: dict[str, np.ndarray],
    input_shape: tuple[int | str, ...] = (1, 3, 64, 96),
    input_type: int = TensorProto.FLOAT,
    before: tuple = (),
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a model whose outputs are these arrays, whatever its input; floats become float32.

    Args:
        path: The file.
        outputs: Arrays by name.
        input_shape: Of the input `image`.
        input_type: Its type.
        before: Inputs that stand before it, from `onnx.helper.make_tensor_value_info`.
        metadata: The file's own notes.
    """
    arrays = {name: value.astype(np.float32) if value.dtype.kind == "f" else value for name, value in outputs.items()}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in arrays.items()
    ]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
        for name, value in arrays.items()
    ]
    image = helper.make_tensor_value_info("image", input_type, list(input_shape))
    return _save(path, helper.make_graph(nodes, "test", [*before, image], infos), metadata)


def write_mean(path: Path, input_shape: tuple[int | str, ...]) -> Path:
    """Write a detector of YOLOv8's layout whose one box holds the mean of each channel: [1, 4 + 1, 1]."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Constant", [], ["ones"], value=numpy_helper.from_array(np.ones((1, 2), np.float32))),
        helper.make_node("Concat", ["mean", "ones"], ["flat"], axis=1),
        helper.make_node("Constant", [], ["last"], value=numpy_helper.from_array(np.array([2], np.int64))),
        helper.make_node("Unsqueeze", ["flat", "last"], ["output"]),
    ]
    return _write(path, nodes, {"output": [1, 5, 1]}, input_shape)


def _write(path: Path, nodes: list, outputs: dict[str, list[int]], input_shape: tuple[int | str, ...]) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(input_shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )
    return _save(path, graph)


def _save(path: Path, graph: onnx.GraphProto, metadata: dict[str, str] | None = None) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path
