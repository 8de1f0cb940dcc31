"""ONNX files as detectors, pose models and teachers meet them: other inputs, damaged files, other batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rewho.core.check import UserError
from rewho.core.onnx_session import OnnxSession

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
pytest.importorskip("onnx", reason="onnx is an extra")
import onnx
from onnx import TensorProto as kinds
from onnx import helper

from onnx_files import write_constant, write_mean

IMAGES = np.zeros((3, 64, 96, 3), np.float32)
ONE = {"out": np.ones((1, 2))}


def tensor(name: str, kind: int, shape: list[int | str]):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "DOUBLE", "UINT8", "INT32", "INT64"])
@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (1, 64, 96, 3), ("n", 3, "h", "w"), ("n", "h", "w", 3)])
def test_inputs_of_any_type_and_layout_are_fed(tmp_path: Path, kind: str, shape: tuple[int | str, ...]) -> None:
    session = OnnxSession(write_constant(tmp_path / "m.onnx", ONE, shape, getattr(kinds, kind)), "test")
    assert session.layout == ("NCHW" if shape[1] == 3 else "NHWC")
    assert session.takes_bytes == ("INT" in kind)
    assert session.size == ((64, 96) if isinstance(shape[2], int) else (None, None))
    assert session.run(IMAGES)[0].tolist() == [[1, 1]] * 3, "a batch of one inside is met with one image at a time"


def test_sizes_are_fed_wherever_the_image_stands(tmp_path: Path) -> None:
    """RT-DETR and D-FINE want the original size, width first; the boxes then come out in pixels of the input."""
    nodes = [helper.make_node("Identity", ["orig_target_sizes"], ["out"])]
    inputs = [tensor("orig_target_sizes", kinds.INT64, ["n", 2]), tensor("images", kinds.FLOAT, ["n", 3, 64, 96])]
    graph = helper.make_graph(nodes, "g", inputs, [tensor("out", kinds.INT64, ["n", 2])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    assert OnnxSession(tmp_path / "m.onnx", "test").run(IMAGES)[0].tolist() == [[96, 64]] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (1, 1, 64, 96)}, "3 channels"),
        ({"input_shape": (1, 4, 64, 96)}, "3 channels"),
        ({"input_shape": (1, 3, 64, 1_000_000)}, "sides of at most"),
        ({"input_shape": (3, 64, 96)}, "one input of images"),
        ({"input_shape": (1,)}, "one input of images"),
        ({"input_type": kinds.STRING}, "one input of images"),
        ({"input_type": kinds.BOOL}, "one input of images"),
        ({"before": (tensor("scale_factor", kinds.FLOAT, [1, 2]),)}, "scale_factor"),
        ({"before": (tensor("other", kinds.FLOAT, [1, 3, 8, 8]),)}, "other"),
    ],
)
def test_inputs_that_are_no_images_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match="Fix:") as refusal:
        OnnxSession(write_constant(tmp_path / "m.onnx", ONE, **change), "test")
    assert message in str(refusal.value)


def test_a_layout_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = write_constant(tmp_path / "m.onnx", ONE)
    with pytest.raises(UserError, match="3 channels as NHWC"):
        OnnxSession(path, "test", layout="NHWC")


def test_files_that_are_no_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    sound = write_mean(path, (1, 3, 64, 96)).read_bytes()
    random = np.random.default_rng(1)
    flipped = [bytearray(sound) for _ in range(20)]
    for one in flipped:
        one[int(random.integers(len(one)))] ^= 1 << int(random.integers(8))
    outside = b"\n\x08location\x12" + bytes([len(b"../../dev/zero")]) + b"../../dev/zero"
    for content in (b"", b"no model", b"\x08\x08" * 1000, sound[:-9], sound + outside, b"\xff" * 99, *flipped):
        path.write_bytes(content)
        try:
            OnnxSession(path, "test").run(IMAGES[:1])
        except UserError as error:
            assert "Fix:" in str(error)
    for place in (tmp_path, tmp_path / "absent.onnx"):
        with pytest.raises(UserError, match="no such file"):
            OnnxSession(place, "test")
    path.write_bytes(sound + outside)
    with pytest.raises(UserError, match="no file beside it"):
        OnnxSession(path, "test")


def test_outputs_without_a_row_per_image_are_refused(tmp_path: Path) -> None:
    path = write_constant(tmp_path / "m.onnx", {"out": np.ones((7, 6))})
    with pytest.raises(UserError, match=r"one row per image, got the shapes \[7, 6\] for 1 image"):
        OnnxSession(path, "test").run(IMAGES)
    with pytest.raises(UserError, match="takes 1 image of 32 x 32"):
        OnnxSession(write_mean(path, (1, 3, 64, 96)), "test").run(IMAGES[:, :32, :32])


def test_the_library_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    """Since 1.32 onnxruntime numbers its devices and reports their use, if nothing forbids it."""
    model = write_constant(tmp_path / "m.onnx", ONE, (1, 3, 64, 96))
    (tmp_path / "home").mkdir()
    names = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "import sys; from pathlib import Path; from rewho.core.onnx_session import OnnxSession as Open"
    code = f"{code}; Open(Path(sys.argv[1]), 'x')"
    environment["HOME"] = str(tmp_path / "home")
    subprocess.run([sys.executable, "-c", code, str(model)], env=environment, check=True)
    assert not list((tmp_path / "home").rglob("*onnxruntime*"))
