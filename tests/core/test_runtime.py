"""Named generators, stop requests, progress lines."""

import os
import signal

import numpy as np
import pytest

from rewho.core.check import UserError, check_embeddings, check_range
from rewho.core.progress import Progress, duration
from rewho.core.runtime import Interrupted, StopRequest, Terminated, end_on_sigterm, generator


def test_generators_depend_on_seed_name_and_counters_only():
    def draw(*key):
        return generator(*key).integers(2**62)

    keys = [(1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1, "a", 1), (1, "a", 0, 1), (1, "a", 1, 0)]
    drawn = [draw(*key) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert drawn == [draw(*key) for key in keys]


def test_a_stop_request_is_noted_and_the_old_handler_comes_back(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # passed on by a launcher: the same press
        assert stop.wanted
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr("rewho.core.runtime.SAME_PRESS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_work_that_notes_none_and_leaves_the_handlers_of_others_alone():
    closed = []
    with pytest.raises(Terminated), end_on_sigterm():
        try:
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wanted
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a launcher's second one does not cut the end short
            closed.append(True)
    assert closed and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    noted = []
    signal.signal(signal.SIGTERM, lambda *_: noted.append(True))
    try:
        with end_on_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert noted


def test_what_the_whole_was_told_its_parts_know_and_the_other_way_round():
    for when in ("before", "within"):
        with StopRequest() as whole:
            if when == "before":
                os.kill(os.getpid(), signal.SIGTERM)
            with StopRequest() as part:
                assert part.wanted == (when == "before")
                os.kill(os.getpid(), signal.SIGTERM)
                assert part.wanted
            with pytest.raises(Interrupted, match="two of three"):
                whole.end_if_wanted("two of three are done")
    with StopRequest() as stop:
        stop.end_if_wanted("nobody asked")


def test_progress_counts_and_estimates():
    progress = Progress("train", total=100, done=40, unit="steps")
    progress.advance(10)
    assert progress.line("loss 1").startswith("train: 50/100 steps (50 %), ")
    assert progress.line("loss 1").endswith("left, loss 1")
    assert [duration(seconds) for seconds in (0, 61, 3661)] == ["0:00", "1:01", "1:01:01"]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def test_what_is_done_in_between_counts_neither_for_the_rate_nor_for_the_time_left(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("rewho.core.progress.time", clock)
    progress = Progress("train", total=20, unit="steps")
    clock.now += 5
    progress.advance(10)
    with pytest.raises(Interrupted), progress.paused():
        clock.now += 180
        raise Interrupted("evaluation")
    assert progress.line() == "train: 10/20 steps (50 %), 2.0/s, 0:05 left"
    progress.close()
    assert capsys.readouterr().err.splitlines()[-1] == "train: 10 steps in 0:05 (2.0/s)"


def test_slow_work_is_told_in_seconds_an_item(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("rewho.core.progress.time", clock)
    progress = Progress("train", total=12, unit="steps")
    assert progress.line() == "train: 0/12 steps (0 %), 0.0/s, ? left"
    clock.now += 221
    progress.advance(9)
    assert capsys.readouterr().err == "train: 9/12 steps (75 %), 24.6 s per step, 1:14 left\n"
    progress.close()
    assert capsys.readouterr().err == "train: 9 steps in 3:41 (24.6 s per step)\n"


def test_embeddings_that_cannot_be_ranked_name_the_image():
    good = np.ones((3, 2), np.float32)
    assert check_embeddings("query", good) is good
    for value, kind in ((np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "the zero vector")):
        bad = good.copy()
        bad[1] = value
        with pytest.raises(UserError, match=r"b\.jpg") as error:
            check_embeddings("query", bad, ["a.jpg", "b.jpg", "c.jpg"])
        assert kind in str(error.value)
    for wrong in (np.ones(3), np.ones((2, 2), int)):
        with pytest.raises(UserError, match="shape"):
            check_embeddings("query", wrong)
    with pytest.raises(UserError, match="from 0 to 1"):
        check_range("share", float("nan"), 0, 1)
