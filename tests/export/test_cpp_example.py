"""The C++ example of the guide is compiled and gives the embedding that Python gives.

onnxruntime's wheel has the library but not the headers, so their folder comes from ORT_INCLUDE.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rewho.embedding.exported import ExportedModel
from rewho.settings import ExportSettings
from rewho.stages import export

ort = pytest.importorskip("onnxruntime", reason="the extra `export`")
pytest.importorskip("onnxscript", reason="the extra `export`")
HEADER = "onnxruntime_cxx_api.h"
SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "embed.cpp"


@pytest.mark.slow
def test_the_example_prints_the_embedding(tmp_path):
    include = Path(os.environ.get("ORT_INCLUDE", "/usr/include/onnxruntime"))
    compiler = shutil.which("g++")
    libraries = sorted(Path(ort.__file__).parent.glob("capi/libonnxruntime.so*"))
    if compiler is None or not libraries or not (include / HEADER).is_file():
        pytest.skip(f"g++, onnxruntime's library and {HEADER} are needed: set ORT_INCLUDE to the folder of its headers")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(libraries[0])
    program = tmp_path / "embed"
    words = ["-std=c++17", str(SOURCE), "-I", str(include), "-L", str(tmp_path), "-lonnxruntime", "-o", str(program)]
    subprocess.run([compiler, *words, f"-Wl,-rpath,{tmp_path}"], check=True)
    folder = export.run(ExportSettings(Path("starter"), tmp_path / "exported"))
    model = ExportedModel.open(folder, "cpu", threads=1)
    image = np.random.default_rng(1).integers(0, 256, (*model.view.size, 3), np.uint8)
    words = [str(program), str(folder / "model.onnx")]
    ran = subprocess.run(words, input=image.tobytes(), capture_output=True, check=True)
    found = np.array(ran.stdout.split(), np.float32)
    np.testing.assert_allclose(found, model.session.run(image[None])[0][0], rtol=1e-6, atol=1e-6)
    cut = subprocess.run(words, input=b"short", capture_output=True, check=False)
    assert cut.returncode == 1 and b"bytes of an image" in cut.stderr
