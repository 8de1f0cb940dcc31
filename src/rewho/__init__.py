"""rewho: who is this, again? Person re-identification, from labelled images to an evaluation one can trust.

The public names are loaded when they are first used, so that `import rewho` costs nothing. It sets one environment
variable, OMP_WAIT_POLICY, to PASSIVE unless it is set: threads of torch that wait for each other then sleep instead of
spinning, which on a busy machine saves most of the time and on an idle one costs little (docs/LOG.md). torch reads it
when it is imported, so import rewho first.

Example:
    >>> import rewho
    >>> sorted(rewho.__all__)
    ['Gallery', 'UserError', 'compare', 'crop', 'distill', 'evaluate', 'load', 'pretrain', 'run', 'search', 'train']
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewho.calls import distill, pretrain, run, train
    from rewho.core.check import UserError
    from rewho.embedding.exported import load_model as load
    from rewho.embedding.scoring import compare, search
    from rewho.embedding.scoring import evaluate_model as evaluate
    from rewho.gallery.gallery import Gallery
    from rewho.stages.crop import crop

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = [
    "Gallery",
    "UserError",
    "compare",
    "crop",
    "distill",
    "evaluate",
    "load",
    "pretrain",
    "run",
    "search",
    "train",
]

_PLACES = {
    "Gallery": ("rewho.gallery.gallery", "Gallery"),
    "UserError": ("rewho.core.check", "UserError"),
    "compare": ("rewho.embedding.scoring", "compare"),
    "crop": ("rewho.stages.crop", "crop"),
    "distill": ("rewho.calls", "distill"),
    "evaluate": ("rewho.embedding.scoring", "evaluate_model"),
    "load": ("rewho.embedding.exported", "load_model"),
    "pretrain": ("rewho.calls", "pretrain"),
    "run": ("rewho.calls", "run"),
    "search": ("rewho.embedding.scoring", "search"),
    "train": ("rewho.calls", "train"),
}


# onnxruntime and Ray report their use to their makers, over the network, unless a variable forbids it when they begin.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each public name is of another kind
    if name not in _PLACES:
        raise AttributeError(f"module 'rewho' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)
