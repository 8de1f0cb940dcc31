"""Named generators, stop requests, progress lines."""

import os
import signal

import numpy as np
import pytest

from rewho.core.check import UserError, check_embeddings, check_range
from rewho.core.progress import Progress, duration
from rewho.core.runtime import Interrupted, StopRequest, generator


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
