"""A batch that is no larger than the data."""

from __future__ import annotations

import math
from dataclasses import replace

from rewho.core.progress import say
from rewho.settings import SamplerSettings


def fit_batch(
    sampler: SamplerSettings, images: int, *, devices: int = 1, identities: int | None = None, group: int = 1
) -> SamplerSettings:
    """Return the sampler with the largest batch that the data can fill, and say so if it is smaller than asked for.

    A batch of images stays a multiple of devices x forward passes, one of P x K images also of K. Where not even the
    smallest such batch fits, nothing changes: what plans the batches refuses it with a message.

    Args:
        sampler: Batch, K, forward passes.
        images: Training images.
        devices: Devices that share a batch.
        identities: Training identities, each of which comes once in a batch of P x K; None allows repeats.
        group: Images that have to stay together on one device, such as a batch-normalisation group.

    Example:
        >>> fit_batch(SamplerSettings(batch=64, accumulate=2), 41).batch
        40
        >>> fit_batch(SamplerSettings("identities", batch=64), 1000, identities=10).batch
        40
        >>> fit_batch(SamplerSettings(batch=64), 64).batch
        64
    """
    apart = sampler.accumulate * devices
    whole = sampler.images_per_identity if sampler.kind == "identities" else 1
    most = images if identities is None else identities * whole
    unit = apart * math.lcm(whole, max(group, 1))
    batch = most // unit * unit
    if sampler.batch <= most or batch < 2 * whole * apart:
        return sampler
    there = f"the {images:,} training images" if identities is None else f"{identities:,} identities x {whole} images"
    say(f"note: a batch of {sampler.batch:,} is more than {there}; each batch has {batch:,}")
    return replace(sampler, batch=batch)
