"""The losses of a training are the same to the bit from run to run, and within a millionth everywhere.

In float32, the last bits of a convolution differ between processors, and a training multiplies such a difference by ten
within two steps. So the losses that were written down are of the same training in float64: there they differ by
1.2e-8 at most between AVX-512, AVX2 and no vector instructions (measured with ATEN_CPU_CAPABILITY), and every planted
change exceeds the tolerance.
"""

import json
import subprocess
import sys

import pytest
import torch
from golden_losses import KINDS, RECORD, STEPS, losses

from rewho.tasks import contrast as contrasting
from rewho.tasks import distillation as distilling
from rewho.tasks import identity
from rewho.training import optim

TOLERANCE = 1e-6  # relative


@pytest.fixture(scope="module")
def another_run():
    done = subprocess.run([sys.executable, str(RECORD.with_suffix(".py"))], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_on_one_machine_are_equal_to_the_bit(kind, another_run):
    computed = losses(kind, "float32")
    assert len(set(computed)) == STEPS, "the losses move"
    assert computed == another_run[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_that_were_written_down(kind):
    assert losses(kind, "float64") == pytest.approx(json.loads(RECORD.read_text())[kind], rel=TOLERANCE)


def _more_momentum(monkeypatch):
    built = optim.build_optimizer
    monkeypatch.setattr(optim, "build_optimizer", lambda *given: _changed(built(*given), momentum=0.901))


def _less_decay(monkeypatch):
    built = optim.build_optimizer
    monkeypatch.setattr(optim, "build_optimizer", lambda *given: _changed(built(*given), weight_decay=4.9e-4))


def _changed(optimizer, **values):
    for group in optimizer.param_groups:
        assert group.keys() >= values.keys()
        group.update(values)
    return optimizer


PLANTED = {
    "smoothing": ("identity", lambda patch: _multiplied(patch, identity, "cross_entropy")),
    "margin": ("identity", lambda patch: _multiplied(patch, identity, "triplet_loss")),
    "momentum": ("identity", _more_momentum),
    "weight decay": ("identity", _less_decay),
    "mimicking": ("distillation", lambda patch: _multiplied(patch, distilling, "mimic_loss")),
    "contrast": ("contrast", lambda patch: _multiplied(patch, contrasting, "info_nce")),
}


def _multiplied(monkeypatch, module, name):
    """Make a loss 0.01 % larger, which a wrong constant or a missing term exceeds."""
    computed = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: computed(*given) * 1.0001)


@pytest.mark.parametrize("change", PLANTED)
def test_small_planted_changes_exceed_the_tolerance(change, monkeypatch):
    kind, plant = PLANTED[change]
    plant(monkeypatch)
    assert losses(kind, "float64", 10) != pytest.approx(json.loads(RECORD.read_text())[kind][:10], rel=10 * TOLERANCE)
