"""Named tensors → a network, strictly: prefixes cut off, position embeddings resampled, misfits listed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import save
from torch import Tensor, nn

from rewho.core.check import UserError
from rewho.core.network import is_reachable
from rewho.core.tensors import read_weights
from rewho.core.text import quantity
from rewho.models.backbone import RESNETS, SQUEEZENETS, STYLED, Backbone, TimmBody
from rewho.models.style import DEVIATION, MEAN

EMA_COPY = re.compile(r"encoder_k\.|key_encoder\.|momentum|ema\b|teacher|average")
DOWNLOADED = {"imagenet": "IMAGENET1K_V1", "imagenet_v2": "IMAGENET1K_V2"}
"""Weights that are downloaded by name, and torchvision's names of them."""
CLASSIFIERS = ("classifier.", "fc.", "head.", "heads.")


def load_pretrained(backbone: Backbone, name: str, source: str) -> str:
    """Load pre-trained weights into the backbone called `name`; returns one line: what was loaded, what left over.

    `source` is none, imagenet or imagenet_v2 (downloaded, the sha256 prefix checked), or a .safetensors / .pth file.
    """
    if source == "none":
        return f"{name}: random weights"
    weights = _download(name, source) if source in DOWNLOADED else read_weights(Path(source))
    # Files of timm's models have timm's own names; those of our bodies begin with "network.", cut off as a prefix.
    network = backbone.body.network if isinstance(backbone.body, TimmBody) else backbone.body
    prefix = find_prefix(weights, network.state_dict()).rstrip(".")
    weights, resampled = resample_positions(network, weights)
    if name in STYLED:  # averages over images, which the first batch sets
        weights = {
            key: value for key, value in network.state_dict().items() if key.endswith((MEAN, DEVIATION))
        } | weights
    left_over = load_tensors(network, weights, f"weights of {name} from {source}")
    extra = f"; left over: {', '.join(left_over[:4])}{' …' if len(left_over) > 4 else ''}" if left_over else ""
    under = f", under {prefix}" if prefix else ""
    return f"{name}: {len(weights) - len(left_over)} tensors from {source}{under}{extra}{resampled}"


def _download(name: str, source: str) -> dict[str, Tensor]:
    if name not in (*SQUEEZENETS, *STYLED, *RESNETS):
        raise UserError(
            f"--model.pretrained {source}",
            expected=f"one of the backbones with a pinned hash: {', '.join((*SQUEEZENETS, *STYLED, *RESNETS))}",
            got=name,
            fix="Download the weights yourself and pass the .safetensors file as --model.pretrained FILE.",
        )
    from torchvision import models

    version = DOWNLOADED[source]
    known = getattr(models.get_model_weights(name.removesuffix("_in")), version, None)
    if known is None:
        fix = "Pass --model.pretrained imagenet, or a ResNet-50, 101 or 152."
        raise UserError(f"--model.pretrained {source}", expected="a ResNet with it", got=name, fix=fix)
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(known.url).name)
    try:  # the file names carry the beginning of their sha256, which is compared after the download
        if not cached.is_file() and not is_reachable(known.url):
            raise URLError(f"no network, and nothing at {cached}")
        weights: dict[str, Tensor] = known.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise UserError(
            f"--model.pretrained {source}",
            expected="the ImageNet weights, downloaded once",
            got=f"{type(error).__name__}: {error}",
            fix="Go online once, or pass --model.pretrained FILE (.safetensors or .pth), starter or none.",
        ) from error
    return weights


def find_prefix(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what precedes the wanted names in a file, such as `module.features.` or `encoder_q.`.

    A file may hold several networks that fit: MoCo's checkpoints the trained encoder (encoder_q; base_encoder in MoCo
    v3) and its momentum copy (encoder_k, momentum_encoder), others student and teacher, or weights and their moving
    average. The network that was trained is preferred to its copy.
    """
    hits: dict[str, list[int]] = {"": [0, 0]}  # by prefix: tensors of the same shape, tensors of the same name
    for name, tensor in weights.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            own = wanted.get(name[start:])
            if own is not None:
                found = hits.setdefault(name[:start], [0, 0])
                found[0] += own.shape == tensor.shape
                found[1] += 1
    return max(sorted(hits), key=lambda prefix: (hits[prefix], not EMA_COPY.search(prefix)))


def _without_prefix(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = find_prefix(weights, wanted)
    others = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    return others | {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}


def resample_positions(
    network: nn.Module, weights: Mapping[str, Tensor], made_at: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], str]:
    """Resample a transformer's position embedding, of one vector per patch, to the patches of another input size.

    Vectors that belong to no patch, such as the class token's, stay as they are. So do embeddings whose grid of patches
    cannot be found; `load_tensors` refuses them.

    Args:
        network: The network; may have no position embedding.
        weights: Named tensors of a file.
        made_at: Height and width of the images that they were trained on; None assumes a square grid if the number of
            patches differs from the network's.

    Returns:
        The weights by the network's names, and a note for the user: empty, or the end of a sentence.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    fitted, note = _without_prefix(weights, network.state_dict()), ""
    for place, module in network.named_modules():
        name = f"{place}.pos_embed".removeprefix(".")
        wanted, given = getattr(module, "pos_embed", None), fitted.get(name)
        patches: Any = getattr(module, "patch_embed", None)
        grid: tuple[int, int] = tuple(getattr(patches, "grid_size", None) or ())
        if not isinstance(wanted, Tensor) or given is None or not wanted.ndim == given.ndim == 3 or not grid:
            continue
        others = wanted.shape[1] - math.prod(grid)
        count = given.shape[1] - others
        if made_at:
            old = made_at[0] // patches.patch_size[0], made_at[1] // patches.patch_size[1]
        else:
            old = grid if count == math.prod(grid) else (math.isqrt(max(0, count)),) * 2
        if old != grid and math.prod(old) == count:
            fitted[name] = resample_abs_pos_embed(given, list(grid), list(old), num_prefix_tokens=others)
            note = f"; position embedding resampled from {old[0]} x {old[1]} to {grid[0]} x {grid[1]} patches"
    return fitted, note


def load_tensors(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> list[str]:
    """Copy named tensors into a network, strictly: every tensor of the network must be found.

    Returns:
        Names in the file that the network has no place for, such as an old classifier.
    """
    wanted = network.state_dict()
    weights = match_names(wanted, weights, what)
    broken = [name for name in wanted if name in weights and not bool(torch.isfinite(weights[name]).all())]
    if broken:
        raise UserError(
            what,
            expected="finite numbers",
            got=f"NaN or infinity in {quantity(len(broken), 'tensors')}: {', '.join(broken[:3])}",
            fix="Choose other weights: those of an earlier checkpoint, or of a training that did not diverge.",
        )
    network.load_state_dict({name: weights.get(name, tensor) for name, tensor in wanted.items()})
    return [name for name in weights if name not in wanted]


def match_names(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the weights by the network's own names."""
    weights = _without_prefix(weights, wanted)
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in weights and name not in counters]
    shapes = [
        f"{name}: {list(tensor.shape)} in the file, {list(wanted[name].shape)} in the model"
        for name, tensor in weights.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if missing or shapes:
        lines = [f"missing: {name}" for name in missing[:8]] + shapes[:8]
        left_over = [name for name in weights if name not in wanted and not name.startswith(CLASSIFIERS)]
        lines += [f"unexpected: {name}" for name in left_over[:8]]
        raise UserError(
            what,
            expected=f"all {len(wanted) - len(counters)} tensors of the network",
            got=f"{len(missing)} missing, {len(shapes)} of another shape\n    " + "\n    ".join(lines),
            fix="Choose the backbone that the file was made for."
            if missing
            else "Choose the backbone and, for a transformer, the --model.input_size that the file was made for.",
        )
    return weights


def tensors_under(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of a part of a network, by their names within that part."""
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}


def tensor_bytes(network: nn.Module) -> bytes:
    """Return a network's tensors as the content of a safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})
