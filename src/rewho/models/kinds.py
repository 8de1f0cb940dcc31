"""Every kind of model by its name."""

from __future__ import annotations

from collections.abc import Mapping

from rewho.models.bdb import BatchDropModel
from rewho.models.mgn import MultipleGranularityModel
from rewho.models.single_view import IMAGENET_MEAN, IMAGENET_STD, SingleViewModel
from rewho.settings import ModelSettings

KINDS: Mapping[str, type[SingleViewModel]] = {
    "single_view": SingleViewModel,
    "mgn": MultipleGranularityModel,
    "bdb": BatchDropModel,
}


def build_model(
    settings: ModelSettings,
    input_size: tuple[int, int],
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> SingleViewModel:
    """Build an untrained model of the kind that its settings name; arguments as of `SingleViewModel`."""
    return KINDS[settings.kind](settings, input_size, mean, std)
