"""Cross-entropy with label smoothing, in both conventions, against other people's figures."""

import numpy as np
import pytest
import torch

from rewho.losses.classify import circle_logits, cross_entropy


@pytest.mark.parametrize(
    ("suffix", "smoothing", "over"),
    [("plain", 0.0, "all"), ("torch_eps_over_C", 0.1, "all"), ("fastreid_eps_over_Cminus1", 0.1, "others")],
)
def test_equal_to_golden(shared, suffix, smoothing, over):
    golden = np.load(shared / "golden" / "triplet" / "label_smoothing.npz", allow_pickle=False)
    logits = torch.tensor(golden["logits"], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor(golden["targets"]), smoothing, over)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden[f"loss_{suffix}"]), abs=1e-6)
    np.testing.assert_allclose(logits.grad, golden[f"grad_{suffix}"], atol=1e-7)


def test_gradient_is_that_of_the_loss():
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, torch.tensor([0, 1, 4, 4]), 0.1), logits)


def test_circle_softmax_equals_golden(shared):
    golden = np.load(shared / "golden" / "triplet" / "circle_softmax.npz", allow_pickle=False)
    features = torch.tensor(golden["features"], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(golden["weight"], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor(golden["targets"])
    cosine = torch.nn.functional.linear(*map(torch.nn.functional.normalize, (features, weight)))
    logits = circle_logits(cosine, targets, 64, 0.35)
    loss = cross_entropy(logits, targets)
    loss.backward()
    np.testing.assert_allclose(cosine.detach(), golden["cosine"], atol=1e-12)
    np.testing.assert_allclose(logits.detach(), golden["logits"], atol=1e-11)
    assert loss.item() == pytest.approx(float(golden["cross_entropy"]), abs=1e-10)
    np.testing.assert_allclose(features.grad, golden["grad_features"], atol=1e-11)
    np.testing.assert_allclose(weight.grad, golden["grad_weight"], atol=1e-11)


def test_circle_gradient_is_that_of_constant_weights():
    cosine = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 4, 4])
    weight = torch.autograd.grad(circle_logits(cosine, labels).sum(), cosine)[0]  # 64 a, as the map is linear then

    def held(x):
        aim = 0.35 + 0.3 * torch.nn.functional.one_hot(labels, 5).double()
        return cross_entropy(weight * (x - aim), labels)

    assert torch.autograd.gradcheck(held, cosine)
    expected = torch.autograd.grad(held(cosine), cosine)[0]
    actual = torch.autograd.grad(cross_entropy(circle_logits(cosine, labels), labels), cosine)[0]
    torch.testing.assert_close(actual, expected)


def test_uniform_logits_by_hand():
    for over in ("all", "others"):
        assert cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6]), 0.1, over).item() == pytest.approx(
            np.log(7), rel=1e-6
        )
        assert cross_entropy(torch.zeros(2, 1), torch.tensor([0, 0]), 0.1, over).item() == 0
