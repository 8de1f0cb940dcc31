"""rewho: who is this, again? Person re-identification, from labelled pictures to an evaluation one can trust.

The public names are loaded when they are first used, so that `import rewho` costs nothing.

Example:
    >>> import rewho
    >>> sorted(rewho.__all__)
    ['UserError', 'compare', 'crop', 'evaluate', 'load', 'search', 'train']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewho.core.check import UserError
    from rewho.pipeline.embedding import load
    from rewho.pipeline.scoring import compare, search
    from rewho.pipeline.scoring import evaluate_model as evaluate
    from rewho.stages.crop import crop
    from rewho.stages.train import run as train

__all__ = ["UserError", "compare", "crop", "evaluate", "load", "search", "train"]

_PLACES = {
    "UserError": ("rewho.core.check", "UserError"),
    "compare": ("rewho.pipeline.scoring", "compare"),
    "crop": ("rewho.stages.crop", "crop"),
    "evaluate": ("rewho.pipeline.scoring", "evaluate_model"),
    "load": ("rewho.pipeline.embedding", "load"),
    "search": ("rewho.pipeline.scoring", "search"),
    "train": ("rewho.stages.train", "run"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each public name is of another kind
    if name not in _PLACES:
        raise AttributeError(f"module 'rewho' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)
