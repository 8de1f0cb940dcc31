"""Pooling against plain loops, and by hand."""

import numpy as np
import pytest
import torch

from kept import kept_bytes
from rewho.models.pooling import GeneralizedMeanPool, StabilizedMaxPool, build_pooling


def test_stabilized_max_pool_equals_golden(shared):
    golden = np.load(shared / "golden" / "pooling_views" / "stabilised_gmp.npz", allow_pickle=False)
    cases = sorted({name.split("__")[0] for name in golden})
    for case in cases:
        maps = torch.tensor(golden[f"{case}__input"], requires_grad=True)
        pooled = StabilizedMaxPool(int(golden[f"{case}__kernel"]))(maps)
        pooled.sum().backward()
        np.testing.assert_allclose(pooled.detach(), golden[f"{case}__output"], atol=1e-6)
        np.testing.assert_allclose(maps.grad, golden[f"{case}__grad_of_sum"], atol=1e-6)
    assert len(cases) >= 5


def test_a_map_smaller_than_the_kernel_is_averaged_whole():
    maps = torch.rand(2, 3, 3, 2)
    torch.testing.assert_close(StabilizedMaxPool(4)(maps), maps.mean(dim=(2, 3)))


def test_one_is_the_plain_maximum():
    maps = torch.rand(2, 3, 5, 4)
    for pooling in (StabilizedMaxPool(1), build_pooling("gmp")):
        torch.testing.assert_close(pooling(maps), maps.amax(dim=(2, 3)))


def test_generalized_mean_lies_between_mean_and_maximum():
    maps = torch.rand(4, 3, 5, 4) + 0.1
    torch.testing.assert_close(GeneralizedMeanPool(1.0)(maps), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(
        GeneralizedMeanPool(200.0)(maps.double()), maps.double().amax(dim=(2, 3)), rtol=0.03, atol=0.03
    )
    maps = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    pooled = build_pooling("gem")(maps)
    pooled.sum().backward()
    assert torch.isfinite(maps.grad).all()


def plain_generalized_mean(maps, exponent, smallest=1e-6):
    """The formula as it is written, with autograd's own derivative."""
    return maps.clamp(min=smallest).pow(exponent).mean(dim=(2, 3)).pow(1.0 / exponent)


def gradients(pool, maps, *parameters):
    maps = maps.detach().requires_grad_()
    weights = torch.linspace(-1, 1, maps[:, :, 0, 0].numel()).view(maps.shape[:2])
    (pool(maps) * weights).sum().backward()
    return maps.grad, *(parameter.grad for parameter in parameters)


@pytest.mark.parametrize("exponent", [1.0, 2.5, 3.0, 6.0])
def test_generalized_mean_and_its_gradients_are_those_of_the_plain_formula(exponent):
    torch.manual_seed(1)
    maps = torch.randn(3, 5, 6, 4).relu() * torch.logspace(-2, 1, 5)[None, :, None, None]
    maps[0, 0] = -1.0  # nothing above the smallest value
    pool, plain_exponent = GeneralizedMeanPool(exponent), torch.tensor(exponent, requires_grad=True)
    plain = lambda maps: plain_generalized_mean(maps, plain_exponent)  # noqa: E731
    torch.testing.assert_close(pool(maps), plain(maps), rtol=1e-6, atol=1e-6)
    own, expected = gradients(pool, maps, pool.exponent), gradients(plain, maps, plain_exponent)
    torch.testing.assert_close(own[0], expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own[1], expected[1], rtol=1e-5, atol=1e-5)


def test_generalized_mean_has_the_right_derivative_and_no_second_one():
    torch.manual_seed(1)
    maps = torch.rand(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    pool = GeneralizedMeanPool().double()
    assert torch.autograd.gradcheck(lambda maps, _: pool(maps), (maps, pool.exponent))
    with torch.no_grad():
        maps[0, 0] = -0.5
    assert torch.autograd.gradcheck(lambda maps, _: pool(maps), (maps, pool.exponent))
    weights = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(pool(maps), maps, weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generalized_mean_keeps_no_copy_of_the_map(dtype):
    maps, pool = torch.rand(2, 64, 24, 8).to(dtype).requires_grad_(), GeneralizedMeanPool()
    assert kept_bytes(lambda: pool(maps), maps) <= 2 * 64 * 4 + 4  # the pooled result in float32, and the exponent
