"""The losses of Factorized Distillation against golden values, gradients, and by hand."""

import numpy as np
import pytest
import torch

from rewho.core.check import UserError
from rewho.losses.classify import cross_entropy
from rewho.losses.mimic import factorized_total, mimic_loss

VIEWS = 7
LABELS = torch.tensor([0, 2, 1])  # of the tiny batch
SUFFIXES = {None: "", "batch": "_masked_divide_by_N", "kept": "_masked_divide_by_kept"}


@pytest.fixture
def golden(shared):
    return np.load(shared / "golden" / "pooling_views" / "fd_loss.npz", allow_pickle=False)


def golden_losses(golden, branch, divide_by, dtype=torch.float32):
    """Return the predictions of each view and their losses, with the golden mask unless `divide_by` is None."""
    predictions = [torch.tensor(golden[f"{branch}_{view}"], dtype=dtype, requires_grad=True) for view in range(VIEWS)]
    losses = []
    for view, prediction in enumerate(predictions):
        keep = None if divide_by is None else torch.tensor(~golden["ignore"][:, view])
        target = torch.tensor(golden[f"sr_{view}"], dtype=dtype)
        losses.append(mimic_loss(target, prediction, keep, divide_by or "batch"))
    return predictions, losses


@pytest.mark.parametrize("divide_by", SUFFIXES)
@pytest.mark.parametrize("branch", ["attr", "metric"])
def test_losses_equal_golden(golden, branch, divide_by):
    _, losses = golden_losses(golden, branch, divide_by)
    np.testing.assert_allclose([loss.item() for loss in losses], golden[f"L_{branch}{SUFFIXES[divide_by]}"], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("divide_by", SUFFIXES)
def test_total_equals_golden(golden, divide_by, dtype, tolerance):
    logits, labels = torch.tensor(golden["logits"], dtype=dtype), torch.tensor(golden["targets"])
    identity = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, labels).to(dtype), identity, rtol=1e-6, atol=1e-6)
    attribute = golden_losses(golden, "attr", divide_by, dtype)[1]
    metric = golden_losses(golden, "metric", divide_by, dtype)[1]
    total = factorized_total(identity, attribute, metric)
    assert total.dtype == dtype
    assert total.item() == pytest.approx(float(golden[f"total_ce_mean{SUFFIXES[divide_by]}"]), rel=tolerance)


def test_gradients_of_the_total_equal_golden(golden):
    attribute, attribute_losses = golden_losses(golden, "attr", "batch")
    metric, metric_losses = golden_losses(golden, "metric", "batch")
    factorized_total(torch.tensor(0.0), attribute_losses, metric_losses).backward()
    for view in range(VIEWS):
        for branch, predictions in (("attr", attribute), ("metric", metric)):
            expected = golden[f"grad_{branch}_{view}_masked_divide_by_N"]
            np.testing.assert_allclose(predictions[view].grad, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("distance", ["sum", "mean", "cosine"])
@pytest.mark.parametrize("divide_by", ["batch", "kept"])
def test_gradient_is_that_of_the_loss(distance, divide_by):
    draw = torch.Generator().manual_seed(1)
    target, prediction = torch.randn(2, 4, 3, dtype=torch.float64, generator=draw)
    keep = torch.tensor([True, False, True, True])
    assert torch.autograd.gradcheck(
        lambda x: mimic_loss(target, x, keep, divide_by, distance), prediction.requires_grad_()
    )


def balanced_total(balance, logits, from_map, from_representation, log_variances, alpha=4.0, beta=2.0):
    """Total loss of two views, from what a student and its branches give."""
    draw = torch.Generator().manual_seed(2)
    targets = torch.randn(2, 3, 2, dtype=torch.float64, generator=draw)
    keep = torch.tensor([[True, True], [False, True], [True, False]])
    attribute, metric = (
        [mimic_loss(targets[view], kind[view], keep[:, view]) for view in range(2)]
        for kind in (from_map, from_representation)
    )
    identity = cross_entropy(logits, LABELS)
    return factorized_total(identity, attribute, metric, alpha, beta, balance, log_variances)


def tiny_batch():
    """Logits of 3 images, predictions of both kinds for 2 views, and the two learned weights, in float64."""
    draw = torch.Generator().manual_seed(3)
    shapes = ((3, 4), (2, 3, 2), (2, 3, 2), (2,))
    return [torch.randn(shape, dtype=torch.float64, generator=draw).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_gradient_of_the_balanced_total_is_that_of_the_loss(balance):
    assert torch.autograd.gradcheck(lambda *given: balanced_total(balance, *given), tiny_batch())


def test_learned_weights_get_a_gradient():
    given = tiny_batch()
    balanced_total("uncertainty", *given).backward()
    assert (given[-1].grad.abs() > 0.01).all()


@pytest.mark.parametrize("scaled_down", [True, False])
def test_gradient_of_the_scaled_total_takes_the_scale_as_a_constant(scaled_down):
    """A sure student has a small identity loss, to which both kinds are scaled down; a mistaken one scales nothing."""
    logits, *branches = tiny_batch()
    sure = torch.nn.functional.one_hot(LABELS, 4) * (5 if scaled_down else -20)
    given = [(logits.detach() + sure).requires_grad_(), *branches]
    identity = balanced_total("fixed", *given, alpha=0, beta=0).item()
    attribute = balanced_total("fixed", *given, alpha=1, beta=0).item() - identity
    metric = balanced_total("fixed", *given, alpha=0, beta=1).item() - identity
    constants = {"alpha": 4 * min(1, identity / attribute), "beta": 2 * min(1, identity / metric)}
    assert (constants["alpha"] < 2 and constants["beta"] < 1) == scaled_down
    gradients = []
    for total in (balanced_total("fixed", *given, **constants), balanced_total("scale", *given)):
        gradients.append(torch.autograd.grad(total, given[:-1]))
        assert total.item() == pytest.approx(identity + constants["alpha"] * attribute + constants["beta"] * metric)
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    balance, weights = ("fixed", constants) if scaled_down else ("scale", {})
    assert torch.autograd.gradcheck(lambda *inputs: balanced_total(balance, *inputs, given[-1], **weights), given[:-1])


def test_distances_by_hand():
    target, prediction = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[6.0, 8.0], [5.0, 0.0]])
    assert mimic_loss(target, prediction).item() == (25 + 29) / 4
    assert mimic_loss(target, prediction, distance="mean").item() == (25 + 29) / 8
    # one minus the cosine: parallel vectors give 0, orthogonal ones 1
    assert mimic_loss(target, prediction, distance="cosine").item() == pytest.approx(1 / 2, rel=1e-6)


def test_an_ignored_sample_has_neither_loss_nor_gradient():
    target, keep = torch.ones(3, 2), torch.tensor([True, False, True])
    prediction = torch.tensor([[2.0, 1.0], [9.0, 9.0], [1.0, 1.0]], requires_grad=True)
    loss = mimic_loss(target, prediction, keep)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 6)
    np.testing.assert_allclose(prediction.grad, [[1 / 3, 0], [0, 0], [0, 0]], rtol=1e-6)
    assert mimic_loss(target, prediction, keep, "kept").item() == pytest.approx(1 / 4)


def test_nothing_kept_is_zero_and_finite():
    prediction = torch.ones(2, 3, requires_grad=True)
    for divide_by in ("batch", "kept"):
        loss = mimic_loss(torch.zeros(2, 3), prediction, torch.tensor([False, False]), divide_by)
        loss.backward()
        assert loss.item() == 0
        assert prediction.grad.abs().sum() == 0


def test_half_precision_is_summed_in_float32():
    # 512 * 12^2 = 73,728, which float16 cannot hold.
    loss = mimic_loss(torch.zeros(1, 512, dtype=torch.float16), torch.full((1, 512), 12.0, dtype=torch.float16))
    assert loss.dtype == torch.float32
    assert loss.item() == 73_728 / 2


def test_teachers_get_no_gradient():
    target = torch.zeros(2, 3, requires_grad=True)
    mimic_loss(target, torch.ones(2, 3, requires_grad=True)).backward()
    assert target.grad is None


def test_one_kind_of_branch_may_be_left_out():
    one = torch.tensor(1.0)
    assert factorized_total(one, [one, one], []).item() == 5
    assert factorized_total(one, [], [one, one]).item() == 3
    assert factorized_total(one, [], []).item() == 1


def test_scaled_losses_are_brought_down_to_the_identity_loss_and_never_up():
    mimic = [torch.tensor(2.0, requires_grad=True)]
    total = factorized_total(torch.tensor(0.5), mimic, [], alpha=3, balance="scale")
    assert total.item() == pytest.approx(0.5 + 3 * 0.5)
    total.backward()
    assert mimic[0].grad.item() == pytest.approx(3 * 0.5 / 2)
    assert factorized_total(torch.tensor(6.0), mimic, [], alpha=3, balance="scale").item() == pytest.approx(6 + 3 * 2)


def test_mistakes():
    zeros, one = torch.zeros(3, 4), torch.tensor(1.0)
    with pytest.raises(UserError, match=r"\[3, 4\], got \[3, 5\]"):
        mimic_loss(torch.zeros(3, 5), zeros)
    for keep in (torch.ones(3, 1, dtype=torch.bool), torch.ones(3)):
        with pytest.raises(UserError, match="one boolean per sample"):
            mimic_loss(zeros, zeros, keep)
    with pytest.raises(UserError, match="2 from feature maps and 1 from representations"):
        factorized_total(one, [one, one], [one])
