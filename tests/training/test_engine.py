"""What an engine arranges for the steps that follow."""

import platform
import subprocess
import sys

import pytest

# In a process of its own: what other tests left in the memory of theirs decides where blocks find room.
STEPS_OF_MEMORY = """
import resource
import torch
from rewho.core.settings import EngineSettings
from rewho.training.engine import launch

def pages_taken(times):
    '''Make and drop tensors as steps do; return how many pages of memory the process had to be given anew.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [torch.ones(6 << 20) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

launch(EngineSettings(device="cpu", precision="32"))
pages_taken(2)
print(pages_taken(10) * resource.getpagesize() / (10 * 3 * (24 << 20)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory in their own ways")
def test_a_cpu_keeps_the_memory_of_one_step_for_the_next():
    done = subprocess.run([sys.executable, "-c", STEPS_OF_MEMORY], capture_output=True, text=True, check=True)
    share_given_anew = float(done.stdout)
    assert share_given_anew < 0.25, "two thirds are without the engine; some room may have to be found once"
