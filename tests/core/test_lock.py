"""The lock: one holder at a time, named; a dead holder is none."""

import os
import subprocess
import sys
import threading

import pytest

from rewho.core.check import UserError
from rewho.core.lock import Lock, hold, release, release_locks

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
        with pytest.raises(UserError, match="one writer at a time"), Lock(path, "it"):
            pass
    assert not path.exists()


FORK = "import os, sys, time; from pathlib import Path; from rewho.core.lock import Lock\n\
with Lock(Path(sys.argv[1]), 'it'):\n\
    child = os.fork()\n\
    if not child: time.sleep(30); os._exit(0)\n\
    print(child, flush=True); time.sleep(60)"


def test_workers_that_outlive_a_killed_holder_do_not_keep_its_lock(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdout=subprocess.PIPE, text=True) as other:
        worker = int(other.stdout.readline())
        other.kill()
        other.wait()
    try:
        with Lock(path, "it"):
            pass
    finally:
        os.kill(worker, 9)


def test_a_held_lock_is_kept_by_its_thread_refused_to_others_and_freed_with_the_run(tmp_path):
    path, refused = tmp_path / "a.lock", []

    def from_another_thread():
        try:
            hold(path, "it")
        except UserError as error:
            refused.append(str(error))

    @release_locks
    def run():
        hold(path, "it")
        hold(path, "it")  # the same thread again: a run that is begun anew after an error
        other = threading.Thread(target=from_another_thread)
        other.start()
        other.join()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0]
    assert not path.exists()
    hold(path, "it")
    release(path)
    assert not path.exists()


def test_only_the_first_rank_holds_the_lock_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    hold(tmp_path / "a.lock", "it")
    assert not (tmp_path / "a.lock").exists()
