"""The lock: one holder at a time, named; a dead holder is none."""

import os
import subprocess
import sys

import pytest

from rewho.core.check import UserError
from rewho.core.lock import Lock

HOLD = "import sys, time; from pathlib import Path; from rewho.core.lock import Lock\n\
with Lock(Path(sys.argv[1]), 'it'): print('held', flush=True); time.sleep(60)"


def test_a_second_holder_is_refused_and_a_dead_one_forgotten(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {other.pid} on"), Lock(path, "it"):
            pass
        other.kill()
        other.wait()
    assert path.exists(), "the killed process left its file"
    with Lock(path, "it"):
        assert path.read_text().startswith(f"{os.getpid()} on")
        with pytest.raises(UserError, match="one builder at a time"), Lock(path, "it"):
            pass
    assert not path.exists()
