"""Cross-entropy with label smoothing, in both conventions, against other people's figures."""

import numpy as np
import pytest
import torch

from rewho.core.check import UserError
from rewho.losses.classify import cross_entropy


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
    # The loss is computed in float32, so the check is made with a step that float32 can resolve.
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(x, torch.tensor([0, 1, 4, 4]), 0.1), logits, eps=1e-2, atol=1e-3, rtol=1e-2
    )


def test_uniform_logits_by_hand():
    for over in ("all", "others"):
        assert cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6]), 0.1, over).item() == pytest.approx(
            np.log(7), rel=1e-6
        )


def test_mistakes():
    with pytest.raises(UserError, match="from 0 to 1"):
        cross_entropy(torch.zeros(1, 2), torch.tensor([0]), 1.5)
    with pytest.raises(UserError, match="all, others"):
        cross_entropy(torch.zeros(1, 2), torch.tensor([0]), 0.1, "other")
