"""What an engine arranges for the steps that follow."""

import platform
import resource

import pytest
import torch

from rewho.core.settings import EngineSettings
from rewho.train.engine import launch


def pages_taken(times: int) -> int:
    """Make and drop tensors as a step does; return how many pages of memory the process had to be given anew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [torch.ones(6 << 20) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory in their own ways")
def test_a_cpu_keeps_the_memory_of_one_step_for_the_next():
    launch(EngineSettings(device="cpu", precision="32"))
    pages_taken(2)
    pages = 3 * 24 * 2**20 // resource.getpagesize()
    assert pages_taken(5) < pages
