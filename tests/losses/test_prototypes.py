"""The loss against prototypes, by hand and by its gradients."""

import math

import pytest
import torch
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.losses.prototypes import PUBLISHED_FLOOR, camera_weights, prototype_loss


def units(*shape, seed=1):
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("floor", [0.0, PUBLISHED_FLOOR, 0.01])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_differences(floor, weighted):
    embeddings, prototypes = units(6, 5).requires_grad_(), units(4, 5, seed=2)
    weights = torch.rand(6, dtype=torch.float64) if weighted else None
    targets = torch.tensor([0, 1, 2, 3, 0, 1])

    def loss(x):
        return prototype_loss(x, prototypes, targets, 0.3, floor=floor, weights=weights)

    assert torch.autograd.gradcheck(loss, (embeddings,))


def test_a_loss_by_hand():
    loss = prototype_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.0], [0.0, 1.0]]), torch.tensor([0]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


def test_the_floor_ends_the_loss_and_takes_the_gradient_of_the_farthest():
    embedding = torch.tensor([[-1.0, 0.0]], requires_grad=True)
    both = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = prototype_loss(embedding, both, torch.tensor([0]), 0.05, floor=PUBLISHED_FLOOR)
    assert loss.item() == pytest.approx(-math.log(1e-6), abs=1e-4)
    assert torch.autograd.grad(loss, embedding)[0].abs().max() < 1e-6
    plain = prototype_loss(embedding, both, torch.tensor([0]), 0.05)
    assert plain.item() == pytest.approx(40, abs=1e-4)
    assert torch.autograd.grad(plain, embedding)[0].abs().max() > 10


def test_clusters_of_more_cameras_weigh_more_and_images_of_a_cluster_alike():
    targets = torch.tensor([3, 3, 3, 3, 7, 7, 9])
    cameras = torch.tensor([0, 1, 2, 3, 0, 0, -1])
    weights = camera_weights(targets, cameras)
    assert weights.mean().item() == pytest.approx(1)
    assert weights[:4].tolist() == pytest.approx([7 * 4 / 6 / 4] * 4)  # exp(entropy) is 4, 1 and 1
    assert weights[4:].tolist() == pytest.approx([7 / 6 / 2] * 2 + [7 / 6])


def test_wrong_shapes_are_told():
    with pytest.raises(UserError, match="prototypes"):
        prototype_loss(torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 1]))
