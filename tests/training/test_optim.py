"""The learning rate of every step, by hand; parameter groups."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from rewho.settings import OptimizerSettings
from rewho.settings.schedule import learning_rate
from rewho.training.optim import build_optimizer, gradient_norm, restore_optimizer, set_learning_rate


def test_paper_schedule_halves_every_twenty_epochs():
    paper = OptimizerSettings()
    rates = [learning_rate(paper, epoch * 230, 230, 80) for epoch in range(80)]
    assert rates == [0.0025 * 0.5 ** (epoch // 20) for epoch in range(80)]


def test_cosine_begins_behind_the_warmup_and_ends_near_zero():
    cosine = OptimizerSettings(learning_rate=0.1, schedule="cosine", warmup_epochs=2)
    rates = [learning_rate(cosine, step, 10, 12) for step in range(120)]
    assert rates[:20] == sorted(rates[:20]) and rates[19] < 0.1
    assert rates[20] == pytest.approx(0.1)
    assert rates[70] == pytest.approx(0.05)
    assert rates[20:] == sorted(rates[20:], reverse=True) and 0 < rates[-1] < 1e-4


def test_mgns_rate_warms_up_stays_and_falls():
    mgn = OptimizerSettings(learning_rate=0.1, schedule="cosine", warmup_epochs=10, flat_epochs=30)
    rates = [learning_rate(mgn, epoch, 1, 60) for epoch in range(60)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:31] == [0.1] * 21
    assert rates[45] == pytest.approx(0.05)
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_steps_and_warm_up():
    bdb = OptimizerSettings(learning_rate=1e-3, schedule="steps", step_epochs=(200, 300), warmup_epochs=50)
    rates = [learning_rate(bdb, epoch * 7, 7, 400) for epoch in (50, 199, 200, 299, 300, 399)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_constant_schedule():
    assert learning_rate(OptimizerSettings(schedule="constant"), 9999, 10, 12) == 0.0025


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_heads_learn_at_their_own_rate(kind):
    backbone, head = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = build_optimizer(backbone, [head], OptimizerSettings(kind=kind, head_factor=10))
    set_learning_rate(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_decoupled_weight_decay_is_apart_from_the_gradient():
    """A first step of AdamW is the rate in the gradient's direction, and the decay's share of the weight besides."""
    layer = nn.Linear(2, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    decay = {"learning_rate": 0.1, "weight_decay": 0.5}
    for kind, expected in (("adamw", [2 - 0.1 - 0.1 * 0.5 * 2, 2 - 0.1 * 0.5 * 2]), ("adam", [1.9, 1.9])):
        moved = nn.Linear(2, 1, bias=False)
        moved.load_state_dict(layer.state_dict())
        optimizer = build_optimizer(moved, [], OptimizerSettings(kind=kind, **decay))
        moved.weight.grad = torch.tensor([[3.0, 0.0]])
        optimizer.step()
        assert moved.weight.flatten().tolist() == pytest.approx(expected, abs=1e-5)
        assert optimizer.defaults["fused"]


def test_gradient_norm_is_that_of_all_gradients():
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert gradient_norm(layer).item() == pytest.approx(5.0)
    layer.bias.grad = torch.tensor([math.nan])
    assert math.isnan(gradient_norm(layer).item())


def test_momentum_begins_at_zero_also_where_fp16_leaves_the_first_step_out():
    weights, head = nn.Linear(3, 2), nn.Linear(2, 2)
    optimizer = build_optimizer(weights, [head], OptimizerSettings(momentum=0.9))
    scaler = GradScaler("cpu")
    for parameter in (*weights.parameters(), *head.parameters()):
        parameter.grad = torch.full_like(parameter, math.inf)
        assert not optimizer.state[parameter]["momentum_buffer"].any()  # before torch takes memory that holds anything
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    assert all(not state["momentum_buffer"].any() for state in optimizer.state.values())


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("sgd", {"weight_decay": 0.1, "momentum": 0.5, "nesterov": True, "head_factor": 3.0}),
        ("sgd", {"momentum": 0.9}),
        ("adam", {"weight_decay": 0.1, "head_factor": 3.0}),
        ("adam", {"kind": "adamw"}),
        ("adamw", {"kind": "adam"}),
    ],
)
def test_a_restored_optimizer_keeps_its_moments_and_takes_the_new_options(kind, after):
    """A step after the change is the one of an optimizer that had the new options and the same moments."""
    start = OptimizerSettings(kind=kind, momentum=0.0 if after == {"momentum": 0.9} else 0.9, weight_decay=0.01)
    steps = []
    for restored in (True, False):
        torch.manual_seed(1)
        parts = nn.Linear(3, 3), nn.Linear(3, 2)
        old, new = (build_optimizer(parts[0], [parts[1]], settings) for settings in (start, replace(start, **after)))
        for optimizer in (old, new):
            set_learning_rate(optimizer, 0.1)
            if optimizer is new and restored:
                restore_optimizer(new, old.state_dict())
            elif optimizer is new:
                for parameter, state in old.state.items():
                    new.state[parameter] = state
            parts[1](parts[0](torch.ones(1, 3))).square().sum().backward()
            optimizer.step()
        steps.append([parameter.detach().clone() for part in parts for parameter in part.parameters()])
        options = {name: value for name, value in new.param_groups[1].items() if name in after}
        assert options == {name: value for name, value in after.items() if name in options}
        assert new.param_groups[1]["factor"] == after.get("head_factor", 1.0)
    assert all(torch.equal(*pair) for pair in zip(*steps, strict=True))
