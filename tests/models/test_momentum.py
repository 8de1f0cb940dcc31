"""Momentum contrast: queue and moving weights against public code, and what must not depend on anything."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from rewho.losses.contrastive import contrastive_scores, info_nce
from rewho.models.momentum import KeyQueue, MomentumContrast, ProjectionHead, key_momentum, update_ema
from rewho.models.split_norm import split_batch_norm


@pytest.mark.parametrize("case", ["wrap", "exact_end", "multiple", "batch_larger_than_rest"])
def test_queue_equals_golden(shared, case):
    golden = np.load(shared / "golden" / "moco" / f"enqueue_{case}.npz", allow_pickle=False)
    queue = KeyQueue(golden["queue_before"].shape[1], golden["queue_before"].shape[0])
    queue.keys.copy_(torch.tensor(golden["queue_before"]).T)
    queue.pointer.fill_(int(golden["ptr_modulo_K"][0]))
    for number, keys in enumerate(golden["keys"], 1):
        queue.enqueue(torch.tensor(keys))
        assert int(queue.pointer) == golden["ptr_modulo_K"][number]
        if number == 1:
            np.testing.assert_array_equal(queue.keys.T, golden["queue_after_first"])
    np.testing.assert_array_equal(queue.keys.T, golden["queue_after"])


def test_a_batch_longer_than_the_queue_leaves_its_last_keys():
    queue = KeyQueue(3, 1)
    queue.enqueue(torch.arange(8.0)[:, None])
    assert queue.keys[:, 0].tolist() == [6.0, 7.0, 5.0]  # places 5, 6, 7 of a ring of 3
    assert int(queue.pointer) == 2


def test_momentum_update_equals_golden(shared):
    golden = np.load(shared / "golden" / "moco" / "momentum_update.npz", allow_pickle=False)
    for momentum in (0.999, 0.9):
        leader = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 16))
        follower = copy.deepcopy(leader)

        names = list(leader.state_dict())

        def weights(what, m=momentum, names=names):
            return {layer: torch.tensor(golden[f"m{m}__{what}__fc.{layer}"]) for layer in names}

        follower.load_state_dict(weights("key_before"))
        for step in range(3):
            leader.load_state_dict(weights(f"query_step{step}"))
            update_ema(follower, leader, momentum)
            for layer, expected in weights(f"key_after_step{step}").items():
                torch.testing.assert_close(follower.state_dict()[layer], expected, atol=1e-7, rtol=0)


def test_the_momentum_stays_or_rises_to_one_by_half_a_cosine():
    shares = [step / 8 for step in range(9)]
    assert {key_momentum(0.99, share) for share in shares} == {0.99}
    rising = [key_momentum(0.99, share, "cosine") for share in shares]
    assert rising == sorted(rising) and (rising[0], rising[-1]) == (0.99, 1.0)
    assert rising[4] == pytest.approx(0.995)
    assert [1 - high for high in rising[::-1]] == pytest.approx([low - 0.99 for low in rising], abs=1e-12)


def encoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
    )


def contrast(group: int = 0, **options) -> MomentumContrast:
    torch.manual_seed(1)
    module = MomentumContrast(encoder(), 6, size=5, **{"queue": 11, "momentum": 0.9, **options})
    if group:
        split_batch_norm(module, group)
    return module


def views(count=8, seed=2):
    torch.manual_seed(seed)
    return torch.randn(count, 3, 6, 6), torch.randn(count, 3, 6, 6), torch.rand(count)


def test_only_the_query_encoder_gets_gradients_and_the_key_encoder_follows():
    module = contrast()
    before = copy.deepcopy(module)
    with torch.no_grad():
        module.encoder[0].weight.add_(1.0)
    found = module(*views())
    info_nce(contrastive_scores(*found[:3])).backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == name.startswith("key_"), name
    moved = 0.9 * before.key_encoder[0].weight + 0.1 * module.encoder[0].weight
    torch.testing.assert_close(module.key_encoder[0].weight, moved)
    assert torch.equal(found.queue, before.queue.keys)
    assert torch.equal(module.queue.keys[:8], found.keys)


def test_shuffling_is_undone():
    plain, grouped = contrast().eval(), contrast().eval()
    first, second, order = views()
    keys = plain(first, second, order).keys
    torch.testing.assert_close(keys, plain.key_projection(plain.key_encoder(second)))
    torch.testing.assert_close(keys, grouped(first, second, order.flip(0)).keys)
    assert int(plain.queue.pointer) == 0, "evaluation must leave the queue alone"


def test_the_groups_of_a_key_are_not_those_of_its_query():
    first, second, _ = views()
    straight = contrast(4)(first, second, torch.arange(8.0)).keys
    shuffled = contrast(4)(first, second, torch.tensor([0.0, 4, 1, 5, 2, 6, 3, 7])).keys
    again = contrast(4)(first, second, torch.tensor([0.0, 4, 1, 5, 2, 6, 3, 7])).keys
    assert torch.equal(shuffled, again)
    assert (straight - shuffled).abs().max() > 1e-3
    by_hand = contrast(4)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    expected = by_hand.key_projection(by_hand.key_encoder(second[order]))[torch.tensor(order).argsort()]
    torch.testing.assert_close(shuffled, expected)


@pytest.mark.parametrize("normalise", [False, True])
def test_gradcheck_of_the_head(normalise):
    torch.manual_seed(3)
    head = ProjectionHead(4, 3, normalise).double()
    keys, queue = torch.randn(5, 3).double(), torch.randn(7, 3).double()
    loss = partial(contrastive_scores, keys=keys, queue=queue, temperature=0.5)
    features = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def of_all(features, *weights):  # of the features and of every weight of the head
        queries = functional_call(head, dict(zip(dict(head.named_parameters()), weights, strict=True)), features)
        return info_nce(loss(queries))

    assert torch.autograd.gradcheck(of_all, (features, *head.parameters()))


def test_a_normalised_head_does_not_feel_what_all_images_share():
    head, features = ProjectionHead(6, 4, normalise=True).train(), torch.randn(8, 6)
    torch.testing.assert_close(head(features + 5), head(features), atol=1e-4, rtol=1e-4)
    plain = ProjectionHead(6, 4)
    assert (plain(features + 5) - plain(features)).abs().max() > 1e-2
    assert head(features + 5).mean(dim=0).abs().max() < 0.2  # no direction is everybody's


def test_a_normalised_head_is_split_and_followed_as_other_layers_are():
    module = contrast(4, head_norm=True)
    kinds = [type(layer).__name__ for layer in module.key_projection.layers]
    assert kinds == ["Linear", "SplitBatchNorm", "ReLU", "Linear", "SplitBatchNorm"]
    first, second, order = views()
    whole = module(first, second, order).queries
    part = module(first[:4], second[:4], order[:4]).queries
    torch.testing.assert_close(whole[:4], part)


def test_the_checkpoint_holds_both_encoders_and_the_queue():
    names = contrast().state_dict().keys()
    for part in ("encoder.0.weight", "key_encoder.1.running_mean", "key_projection.layers.2.bias", "queue.keys"):
        assert part in names
    assert "queue.pointer" in names
