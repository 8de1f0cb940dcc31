"""Named random generators, device and precision: what decides whether two runs are the same run.

Random numbers are drawn from counters, not from hidden state: a generator is made from (seed, name, counters), so
that the draw of batch 1,234 is the same whether the run started at batch 0 or was resumed at batch 1,233.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the generator called `name` at the position given by `counters`.

    Args:
        seed: The run's seed, >= 0.
        name: What is drawn, such as "augment"; two names never share a stream.
        *counters: Position in the stream, such as epoch and step, each >= 0.

    Example:
        >>> first, again = generator(1, "augment", 3, 7), generator(1, "augment", 3, 7)
        >>> bool(first.random() == again.random())
        True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode()), *counters])))
