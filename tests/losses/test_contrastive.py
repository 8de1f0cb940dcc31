"""InfoNCE against MoCo's and LUPerson's code, against numpy, and its gradient against differences."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.losses.contrastive import ContrastScores, contrastive_accuracy, contrastive_scores, info_nce


def test_equal_to_golden(shared):
    golden = np.load(shared / "golden" / "moco" / "infonce.npz", allow_pickle=False)
    keys, queue = torch.tensor(golden["k"]), torch.tensor(golden["queue"]).T
    for suffix, temperature in (("", 0.07), ("_temperature_0_1", 0.1)):
        queries = torch.tensor(golden["q"], requires_grad=True)
        scores = contrastive_scores(queries, keys, queue, temperature)
        loss = info_nce(scores)
        loss.backward()
        assert loss.item() == pytest.approx(float(golden[f"loss{suffix}"]), abs=1e-6)
        np.testing.assert_allclose(queries.grad, golden[f"grad_q{suffix}"], atol=1e-6)
        if not suffix:
            logits = torch.cat([scores.positive[:, None], scores.negative], dim=1).detach()
            np.testing.assert_allclose(logits, golden["logits"], atol=1e-5)


def test_equal_to_golden_through_the_normalisation_and_in_float64(shared):
    golden = np.load(shared / "golden" / "moco" / "infonce.npz", allow_pickle=False)
    raw = torch.tensor(golden["q_raw"], dtype=torch.float64, requires_grad=True)
    keys = F.normalize(torch.tensor(golden["k_raw"], dtype=torch.float64))
    queue = torch.tensor(golden["queue"], dtype=torch.float64).T
    loss = info_nce(contrastive_scores(F.normalize(raw), keys, queue))
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["loss_float64_independent"]), abs=1e-7)
    np.testing.assert_allclose(raw.grad, golden["grad_q_raw"], atol=1e-6)


def test_equal_to_numpy():
    queries, keys, queue = (np.random.default_rng(seed).normal(size=(rows, 6)) for seed, rows in enumerate((5, 5, 11)))
    own, others = np.exp((queries * keys).sum(1) / 0.5), np.exp(queries @ queue.T / 0.5).sum(1)
    loss = info_nce(contrastive_scores(*map(torch.tensor, (queries, keys, queue)), 0.5))
    assert loss.item() == pytest.approx(-np.log(own / (own + others)).mean(), abs=1e-12)


def test_gradcheck():
    queries = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    keys, queue = torch.randn(4, 6, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q: info_nce(contrastive_scores(q, keys, queue, 0.2)), queries)


def test_no_gradient_reaches_keys_and_queue():
    queries, keys, queue = (torch.randn(rows, 4, requires_grad=True) for rows in (3, 3, 8))
    info_nce(contrastive_scores(queries, keys, queue)).backward()
    assert queries.grad is not None
    assert keys.grad is None
    assert queue.grad is None


def test_large_scores_do_not_overflow():
    scores = ContrastScores(torch.tensor([1e4]), torch.tensor([[2e4, 0.0]]))
    assert info_nce(scores).item() == pytest.approx(1e4)
    assert contrastive_accuracy(scores).item() == 0.0


def test_half_precision_is_scored_in_float32():
    scores = contrastive_scores(torch.randn(2, 4).bfloat16(), torch.randn(2, 4).bfloat16(), torch.randn(3, 4))
    assert scores.negative.dtype == torch.float32


def test_mistakes():
    with pytest.raises(UserError, match="one key per row"):
        contrastive_scores(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2, 5))


def test_related_keys_have_no_weight_and_no_gradient():
    torch.manual_seed(0)
    keys, queue = (F.normalize(torch.randn(size, 4, dtype=torch.float64), dim=1) for size in (3, 6))
    queries = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    related = torch.zeros(3, 6, dtype=torch.bool)
    related[0, [1, 4]] = True
    related[2] = True
    losses = [
        info_nce(contrastive_scores(queries[row : row + 1], keys[row : row + 1], queue[~related[row]], 0.2))
        for row in (0, 1)
    ]
    masked = info_nce(contrastive_scores(queries, keys, queue, 0.2, related))
    torch.testing.assert_close(masked, sum(losses) / 3)  # the third query has no negatives, and a loss of 0
    expected, found = (torch.autograd.grad(loss, queries)[0] for loss in (sum(losses) / 3, masked))
    torch.testing.assert_close(found, expected)
    assert torch.isfinite(found).all()
    queries, keys = torch.randn(2, 2, 4).half()
    assert torch.isfinite(info_nce(contrastive_scores(queries, keys, torch.randn(3, 4), 0.001, related[:2, :3])))
