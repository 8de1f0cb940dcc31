"""What an engine arranges for the steps that follow."""

import logging
import os
import platform
import subprocess
import sys
import warnings

import pytest
import torch

from rewho.settings import EngineSettings
from rewho.training.engine import launch

# In a process of its own: what other tests left in the memory of theirs decides where blocks find room.
STEPS_OF_MEMORY = """
import resource
import torch
from rewho.settings import EngineSettings
from rewho.training.engine import launch

def pages_taken(times):
    '''Make and drop tensors as steps do; return how many pages of memory the process had to be given anew.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [torch.ones(6 << 20) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with launch(EngineSettings(device="cpu", precision="32")).applied():
    pages_taken(2)
    taken = pages_taken(10)
print(taken * resource.getpagesize() / (10 * 3 * (24 << 20)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory in their own ways")
def test_a_cpu_keeps_the_memory_of_one_step_for_the_next():
    done = subprocess.run([sys.executable, "-c", STEPS_OF_MEMORY], capture_output=True, text=True, check=True)
    share_given_anew = float(done.stdout)
    assert share_given_anew < 0.25, "two thirds are without the engine; some room may have to be found once"


def options():
    return (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.allow_tf32,
        logging.getLogger("lightning_fabric").level,
        list(warnings.filters),
        os.environ.get("OMP_NUM_THREADS"),
    )


@pytest.mark.parametrize(("precision", "matmul"), [("32", "highest"), ("tf32", "high"), ("bf16", "high")])
def test_global_options_are_the_engines_in_a_training_and_as_before_behind_it(precision, matmul):
    before = options()
    engine = launch(EngineSettings(device="cpu", precision=precision, deterministic=True, threads=before[0] + 1))
    assert options() == before
    with pytest.raises(KeyError), engine.applied():
        assert options()[:3] == (before[0] + 1, matmul, True)
        raise KeyError
    assert options() == before
