"""The losses of fifty steps are the same to the bit: from run to run, and as they were when they were written down."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest
from golden_losses import PLAIN, RECORD

KINDS = ("identity", "distillation", "contrast")


@cache
def fifty_steps(run: int) -> dict:
    """Return what a process of its own computes; `run` only tells one run from another."""
    script = str(RECORD.with_suffix(".py"))
    done = subprocess.run([sys.executable, script], env={**os.environ, **PLAIN}, capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_that_were_written_down(kind):
    """For a version of PyTorch of which nothing was written down, another process says what is expected."""
    computed = fifty_steps(1)
    known = json.loads(RECORD.read_text())
    expected = known[computed["name"]] if computed["name"] in known else fifty_steps(2)["losses"]
    assert len(expected[kind]) == 50
    assert len(set(expected[kind])) > 45, "the losses move"
    assert computed["losses"][kind] == expected[kind]
