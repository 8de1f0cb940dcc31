"""A compiled task trains as the plain one does, and what it leaves is the same."""

import math
import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from toy_training import IDENTITIES, ToyTask, run, settings

from rewho.settings import EngineSettings
from rewho.training.checkpoint import load_checkpoint
from rewho.training.log import read_log


def losses_of(folder, *, compiled):
    task = ToyTask()
    task.backbone[3] = nn.Identity()  # a compiled dropout draws other numbers
    run(settings(folder, engine=EngineSettings("cpu", precision="32", compile=compiled), epochs=1), task=task)
    return [line["total"] for line in read_log(folder) if "total" in line]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_task_trains_as_the_plain_one_does(tmp_path):
    torch.manual_seed(3)
    plain = losses_of(tmp_path / "plain", compiled=False)
    assert len(plain) == 10 and plain[0] == pytest.approx(math.log(IDENTITIES), abs=1)
    counters.clear()
    torch.manual_seed(3)
    compiled = losses_of(tmp_path / "compiled", compiled=True)
    assert counters["stats"]["unique_graphs"] >= 1 and counters["aot_autograd"]["ok"] >= 1
    assert compiled == pytest.approx(plain, rel=1e-3)
    states = [load_checkpoint(tmp_path / name / "checkpoints")[1] for name in ("plain", "compiled")]
    assert states[0]["parameters"].keys() == states[1]["parameters"].keys()
