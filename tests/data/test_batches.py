"""Samplers: every image or identity, the right numbers, the same plan from any place."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewho.core.check import UserError
from rewho.core.runtime import explain_dead_workers
from rewho.data.batches import PlanStream, load_batches, part_of, plan_epoch
from rewho.settings import SamplerSettings


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=4, max_size=25),
    people=st.integers(2, 4),
    size=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_identity_batches_hold_p_people_with_k_images_and_cover_everybody(counts, people, size, epoch):
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = SamplerSettings("identities", batch=people * size, images_per_identity=size)
    batches = plan_epoch(sampler, labels, seed=1, epoch=epoch)
    for batch in batches:
        found, number = np.unique(labels[batch], return_counts=True)
        assert len(found) == people and (number == size).all()
        for label in found:
            own = batch[labels[batch] == label]
            assert len(np.unique(own)) == min(size, counts[label]), "no image twice while others are left"
    assert set(labels[batches].ravel()) == set(range(len(counts))), "every identity comes at least once"


@settings(max_examples=40, deadline=None)
@given(images=st.integers(2, 200), batch=st.integers(2, 50), epoch=st.integers(0, 3))
def test_shuffled_batches_hold_every_image_once(images, batch, epoch):
    labels = np.zeros(images, np.int64)
    if batch > images:
        with pytest.raises(UserError, match="batch"):
            plan_epoch(SamplerSettings(batch=batch), labels, 1, epoch)
        return
    batches = plan_epoch(SamplerSettings(batch=batch), labels, 1, epoch)
    assert batches.shape == (images // batch, batch)
    assert len(np.unique(batches)) == batches.size


def test_epochs_and_seeds_differ_and_repeat():
    labels = np.arange(50)
    plans = [plan_epoch(SamplerSettings(batch=10), labels, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert not any(np.array_equal(plans[0], other) for other in plans[1:])
    assert np.array_equal(plans[0], plan_epoch(SamplerSettings(batch=10), labels, 1, 0))


@pytest.mark.parametrize("kind", ["shuffle", "identities"])
def test_the_stream_goes_on_from_any_place(kind):
    labels = np.arange(60) % 6
    stream = PlanStream(SamplerSettings(kind, batch=12, images_per_identity=3), labels, seed=1, epochs=3)
    whole = list(stream)
    assert len(whole) == len(stream) == 3 * stream.epoch_length()
    for start in range(len(whole) + 1):
        rest = list(replace(stream, start=start))
        assert len(rest) == len(whole) - start == len(replace(stream, start=start))
        for left, right in zip(rest, whole[start:], strict=True):
            assert (left.epoch, left.step) == (right.epoch, right.step) and np.array_equal(left.rows, right.rows)


def test_epochs_can_be_cut_short():
    stream = PlanStream(SamplerSettings(batch=10), np.arange(100), seed=1, epochs=2, steps_per_epoch=3)
    assert [(plan.epoch, plan.step) for plan in stream] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_mistakes():
    labels = np.arange(20) % 4
    for sampler in (
        SamplerSettings("identities", batch=10, images_per_identity=4),
        SamplerSettings("identities", batch=4, images_per_identity=4),
        SamplerSettings("identities", batch=20, images_per_identity=4),
        SamplerSettings("identities", batch=8, images_per_identity=0),
        SamplerSettings("random"),
        SamplerSettings(batch=1),
    ):
        with pytest.raises(UserError):
            plan_epoch(sampler, labels, 1, 0)
    with pytest.raises(UserError, match="multiple of 3 device"):
        load_batches(PlanStream(SamplerSettings(batch=4), labels, 1, 1), lambda plan, part: None, world=3)


def test_a_pass_holds_the_same_images_however_many_processes_share_it():
    rows = np.random.default_rng(1).permutation(24)
    alone = rows[part_of(0, world=1, passes=3, batch=24)].reshape(3, 8)
    for world in (2, 4):
        shared = [rows[part_of(rank, world, passes=3, batch=24)].reshape(3, -1) for rank in range(world)]
        assert np.array_equal(np.concatenate(shared, axis=1), alone)
    assert np.array_equal(alone.ravel(), rows)


def test_each_process_loads_its_part_of_every_pass():
    plans = PlanStream(SamplerSettings(batch=8, accumulate=2), np.zeros(8, np.int64), seed=1, epochs=1)
    batches = [
        next(iter(load_batches(plans, lambda plan, part: plan.rows[part], rank=rank, world=2))).tolist()
        for rank in (0, 1)
    ]
    whole = next(iter(plans)).rows.tolist()
    assert batches == [[*whole[0:2], *whole[4:6]], [*whole[2:4], *whole[6:8]]]


def _unreadable(plan, part):
    raise UserError("3.jpg", expected="an image", got="a broken file", fix="Remove it.")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_in_a_worker_comes_out_as_it_went_in(workers):
    plans = PlanStream(SamplerSettings(batch=4), np.zeros(8, np.int64), seed=1, epochs=1)
    running = multiprocessing.active_children()
    with pytest.raises(UserError) as error:
        next(load_batches(plans, _unreadable, workers=workers))
    assert str(error.value) == "3.jpg: expected an image, got a broken file.\n  Fix: Remove it."
    assert multiprocessing.active_children() == running, "also while the error is kept"


KEPT = """
import numpy as np
from rewho.data.batches import PlanStream, load_batches
from rewho.settings import SamplerSettings
batches = load_batches(PlanStream(SamplerSettings(batch=4), np.zeros(8, int), 1, 1), lambda *_: (), workers=2)
next(batches)
print("read")
"""


def test_a_program_ends_while_it_reads():
    """An error that was raised between two batches holds them until the program ends."""
    done = subprocess.run([sys.executable, "-c", KEPT], timeout=300, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "read\n", "")


def _killed(plan, part):
    os.kill(os.getpid(), signal.SIGKILL)


def _slow_to_die(plan, part):
    threading.Timer(0.3, _killed, (plan, part)).start()
    return (torch.zeros(1),)


def test_a_killed_worker_is_an_error_for_the_user():
    with pytest.raises(UserError, match=r"data loading: expected workers.*\n.*resumes"):
        next(
            load_batches(
                PlanStream(SamplerSettings(batch=4), np.zeros(8, np.int64), seed=1, epochs=1), _killed, workers=1
            )
        )


LOST = """
import sys
from rewho.data.batches import _start_worker

def send():
    raise BrokenPipeError("nobody is there")

def fail():
    raise KeyError("a fault")

_start_worker(0)
for work in (send, fail):
    try:  # as the thread of multiprocessing does that hands batches over
        work()
    except Exception:
        sys.excepthook(*sys.exc_info())
"""


def test_a_worker_says_nothing_of_a_main_process_that_hung_up():
    done = subprocess.run([sys.executable, "-c", LOST], timeout=300, capture_output=True, text=True, check=True)
    assert done.stderr.count("Traceback") == 1
    assert "BrokenPipeError" not in done.stderr and "KeyError: 'a fault'" in done.stderr


def test_a_worker_that_dies_during_a_step_is_an_error_for_the_user():
    """PyTorch notices it by a signal, wherever the process is."""
    plans = PlanStream(SamplerSettings(batch=4), np.zeros(8, np.int64), seed=1, epochs=1)
    batches = load_batches(plans, _slow_to_die, workers=1)
    with pytest.raises(UserError, match="data loading"), explain_dead_workers():
        next(batches)
        time.sleep(3)


def test_too_few_open_files_are_refused(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (24, 24))
    with pytest.raises(UserError, match="1 worker: expected room for 60 open files"):
        load_batches(PlanStream(SamplerSettings(batch=4), np.zeros(8, np.int64), seed=1, epochs=1), _killed, workers=1)
