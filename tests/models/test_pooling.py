"""Pooling against plain loops, and by hand."""

import numpy as np
import pytest
import torch

from rewho.core.check import UserError
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


def test_unknown_pooling():
    with pytest.raises(UserError, match="stabilized_gmp"):
        build_pooling("stabilised_gmp")
