"""Pre-training compiled, and on a GPU: the same course as the plain one on a CPU, within its precision."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_pretrain_stage import settings
from torch._dynamo.utils import counters

from rewho.settings import ContrastSettings, EngineSettings
from rewho.stages import pretrain
from rewho.training.log import read_log

CPU = EngineSettings("cpu", precision="32")


def course(people, out, engine: EngineSettings) -> list[float]:
    """Pre-train for three steps whose rate is too small to blow rounding up; return the losses."""
    start = settings(people, out, engine=engine, epochs=1)
    contrast = ContrastSettings(queue=30, norm_group=4, reference_batch=2560, projection=16)
    folder = pretrain.run(replace(start, contrast=contrast))
    tensors = load_file(folder / "model.safetensors")
    assert all(tensor.device.type == "cpu" and torch.isfinite(tensor).all() for tensor in tensors.values())
    return [line["total"] for line in read_log(folder) if "found" in line]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_it_runs_the_same_course(people, tmp_path):
    plain = course(people, tmp_path / "plain", CPU)
    counters.clear()
    compiled = course(people, tmp_path / "compiled", replace(CPU, compile=True))
    assert counters["aot_autograd"]["ok"] >= 1
    assert len(plain) == 3 and compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("precision", "within"), [("32", 0.02), ("bf16", 0.1), ("fp16", 0.1)])
def test_on_a_gpu_it_runs_the_course_of_a_cpu(people, tmp_path, precision, within, compiled):
    plain = course(people, tmp_path / "cpu", CPU)
    counters.clear()
    found = course(people, tmp_path / "gpu", EngineSettings("cuda", precision=precision, compile=compiled))
    assert (counters["aot_autograd"]["ok"] >= 1) == compiled
    assert found == pytest.approx(plain, rel=within)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_precision_is_bf16_by_itself_where_it_has_it(people, tmp_path):
    of_itself = course(people, tmp_path / "auto", EngineSettings("cuda", precision="auto"))
    wanted = "bf16" if torch.cuda.is_bf16_supported() else "32"
    assert of_itself == pytest.approx(course(people, tmp_path / "told", EngineSettings("cuda", precision=wanted)))
