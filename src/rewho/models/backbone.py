"""Image encoders by name, with a total stride of 16 or, on request, a ResNet's own 32, and their pre-trained weights.

"Last stride 1" is not what timm's `output_stride=16` or torchvision's dilation flags do (both dilate the convolutions
that follow); here the strides of one block are set by hand and nothing else changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from rewho.core.artifact import verify_hash
from rewho.core.check import UserError, nearest
from rewho.core.network import is_reachable
from rewho.core.tensors import named_tensors, read_safetensors, read_torch

SQUEEZENETS = ("squeezenet1_0", "squeezenet1_1")
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
SLOW_COPY = re.compile(r"encoder_k\.|key_encoder\.|momentum|ema\b|teacher|average")
CLASSIFIERS = ("classifier.", "fc.", "head.", "heads.")


class Backbone(nn.Module):
    """A network that turns images [N, 3, H, W] into a feature map, usually [N, C, H/16, W/16].

    Args:
        body: The network; called with images, returns the map.
        channels: Number C of channels of the map.
    """

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, C, h, w] of normalised images [N, 3, H, W]."""
        feature_map: Tensor = self.body(images)
        return feature_map


class _TimmBody(nn.Module):
    """Any timm model as a function from images to its last feature map, tokens put back into their places."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        options = {"indices": 1, "norm": True, "output_fmt": "NCHW", "intermediates_only": True}
        feature_map: Tensor = self.network.forward_intermediates(images, **options)[-1]  # type: ignore[operator]
        return feature_map


def build_backbone(name: str, stride_one_at: str = "layer4", input_size: tuple[int, int] = (256, 128)) -> Backbone:
    """Build an untrained backbone.

    Args:
        name: squeezenet1_0, squeezenet1_1, resnet18 … resnet152, or any model name that timm knows.
        stride_one_at: ResNets: the stage whose first block keeps stride 1 ("conv4_1", FD section 4.1): layer4 is the
            usual reading, layer3 the literal one; none leaves torchvision's strides, 32 in total. The weights have the
            same shapes with each.
        input_size: Height and width of the images; only transformers need to know.

    Raises:
        UserError: No such model; names the nearest.

    Example:
        >>> build_backbone("squeezenet1_1")(torch.zeros(1, 3, 256, 128)).shape
        torch.Size([1, 512, 15, 7])
    """
    if name in SQUEEZENETS:
        from torchvision import models

        return Backbone(getattr(models, name)(weights=None).features, 512)
    return _build_timm(name, stride_one_at, input_size)


def _build_timm(name: str, stride_one_at: str, input_size: tuple[int, int]) -> Backbone:
    import timm

    if not timm.is_model(name):
        known = [*SQUEEZENETS, *RESNETS, *timm.list_models()]
        near = nearest(name, known)
        raise UserError(
            "--model.backbone",
            expected=f"one of {', '.join((*SQUEEZENETS, *RESNETS))}, or a model name that timm knows",
            got=repr(name),
            fix=f"Did you mean {near!r}?"
            if near
            else "`python -c 'import timm; print(timm.list_models())'` lists all.",
        )
    network: Any
    if name in RESNETS:
        network = timm.create_model(name, num_classes=0, global_pool="")
        if stride_one_at != "none":
            _keep_stride_one(getattr(network, stride_one_at)[0])
        return Backbone(network, network.num_features)
    try:
        network = timm.create_model(name, num_classes=0, img_size=input_size)
    except TypeError:  # convolutional networks take images of any size and no such argument
        network = timm.create_model(name, num_classes=0)
    if not hasattr(network, "forward_intermediates"):
        raise UserError(
            "--model.backbone", expected="a timm model that gives feature maps", got=name, fix="Choose another model."
        )
    return Backbone(_TimmBody(network), network.num_features)


def _keep_stride_one(block: nn.Module) -> None:
    """Set every stride of a residual block to 1."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def load_pretrained(backbone: Backbone, name: str, source: str) -> str:
    """Load pre-trained weights into a backbone and say what was loaded.

    Args:
        backbone: What to fill.
        name: Its name, as given to `build_backbone`.
        source: none, imagenet (downloaded by name, its sha256 prefix checked), or a .safetensors / .pth file.

    Returns:
        One readable line: how many tensors were loaded, and which of the file's were left over.

    Raises:
        UserError: The file is missing, holds executable content, or does not fit; lists missing and misfitting keys.
    """
    if source == "none":
        return f"{name}: random weights"
    weights = _download(name) if source == "imagenet" else read_weights(Path(source))
    # Files of timm's models have timm's own names, those of our bodies one more word, which is cut off like any prefix.
    network = backbone.body.network if isinstance(backbone.body, _TimmBody) else backbone.body
    prefix = prefix_of(weights, network.state_dict()).rstrip(".")
    weights, resampled = fit_positions(network, weights)
    left_over = fill(network, weights, f"weights of {name} from {source}")
    extra = f"; left over: {', '.join(left_over[:4])}{' …' if len(left_over) > 4 else ''}" if left_over else ""
    under = f", under {prefix}" if prefix else ""
    return f"{name}: {len(weights) - len(left_over)} tensors from {source}{under}{extra}{resampled}"


def _download(name: str) -> dict[str, Tensor]:
    if name not in (*SQUEEZENETS, *RESNETS):
        raise UserError(
            "--model.pretrained imagenet",
            expected=f"one of the backbones with a pinned hash: {', '.join((*SQUEEZENETS, *RESNETS))}",
            got=name,
            fix="Download the weights yourself and pass the .safetensors file as --model.pretrained FILE.",
        )
    from torchvision import models

    known = models.get_model_weights(name).IMAGENET1K_V1
    kept = Path(torch.hub.get_dir(), "checkpoints", Path(known.url).name)
    try:  # the file names carry the beginning of their sha256, which is compared after the download
        if not kept.is_file() and not is_reachable(known.url):
            raise URLError(f"no network, and nothing at {kept}")
        weights: dict[str, Tensor] = known.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (URLError, OSError) as error:
        raise UserError(
            "--model.pretrained imagenet",
            expected="the ImageNet weights, downloaded once",
            got=f"{type(error).__name__}: {error}",
            fix="Go online once, or pass --model.pretrained FILE (.safetensors or .pth), or --model.pretrained none.",
        ) from error
    return weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a .safetensors file, or from a torch file without executing anything in it.

    Raises:
        UserError: No such file, damaged, or a pickle that would run code.
    """
    if not path.is_file():
        raise UserError(
            "weights to begin from",
            expected="a weights file, or a model folder of ours",
            got=f"nothing at {path}",
            fix="Check the path, of --model.pretrained or in the recipe.",
        )
    verify_hash(path, "model.json", "manifest.json")  # those of our own, wherever they were copied to
    if path.suffix == ".onnx":
        raise UserError(
            f"weights file {path}",
            expected="named tensors (.safetensors, or a torch file that holds tensors only)",
            got="an ONNX file, which is no list of tensors",
            fix="Ask for a .safetensors file.",
        )
    tensors = read_safetensors(path) if path.suffix == ".safetensors" else named_tensors(read_torch(path))
    if not tensors:
        raise UserError(
            f"weights file {path}", expected="named tensors", got="none", fix="Save the network's state_dict()."
        )
    return tensors


def prefix_of(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what stands in front of the wanted names, such as `module.features.` or `encoder_q.`.

    A file may hold several networks that fit. MoCo's checkpoints hold the encoder as encoder_q (base_encoder in MoCo
    v3) and its slow copy as encoder_k (momentum_encoder), others student and teacher, or weights and their moving
    average: the network that was trained is wanted, not the copy.
    """
    hits: dict[str, list[int]] = {"": [0, 0]}
    for name, tensor in weights.items():
        starts = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
        for start in starts:
            own = wanted.get(name[start:])
            if own is not None:
                found = hits.setdefault(name[:start], [0, 0])
                found[0] += own.shape == tensor.shape
                found[1] += 1
    return max(sorted(hits), key=lambda prefix: (hits[prefix], not SLOW_COPY.search(prefix)))


def _without_prefix(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = prefix_of(weights, wanted)
    others = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    return others | {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}


def fit_positions(
    network: nn.Module, weights: Mapping[str, Tensor], made_at: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], str]:
    """Resample a transformer's position embedding, of one vector per patch, to the patches of another input size.

    Vectors that belong to no patch, such as the class token's, stay as they are. Weights of whose grid nothing is known
    stay as they are too, and `fill` refuses them.

    Args:
        network: What the weights are for; may have no position embedding.
        weights: Named tensors of a file.
        made_at: Height and width of the images that they were made for; where that is not known, a number of patches
            that differs from the network's is taken for a square.

    Returns:
        The weights by the network's names, and what is to be said about it: nothing, or the end of a sentence.

    Example:
        >>> small, large = (build_backbone("test_vit", input_size=size).body for size in ((64, 64), (256, 128)))
        >>> fit_positions(large, small.state_dict())[1]
        '; position embedding resampled from 4 x 4 to 16 x 8 patches'
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    fitted, said = _without_prefix(weights, network.state_dict()), ""
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
            said = f"; position embedding resampled from {old[0]} x {old[1]} to {grid[0]} x {grid[1]} patches"
    return fitted, said


def fill(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> list[str]:
    """Copy named tensors into a network, strictly: every tensor of the network must be found.

    Returns:
        Names in the file that the network has no place for, such as an old classifier.

    Raises:
        UserError: Tensors are missing, have another shape, or hold NaN or infinity; lists them.
    """
    wanted = network.state_dict()
    weights = fitting(wanted, weights, what)
    broken = [name for name in wanted if name in weights and not bool(torch.isfinite(weights[name]).all())]
    if broken:
        raise UserError(
            what,
            expected="finite numbers",
            got=f"NaN or infinity in {len(broken)} tensors: {', '.join(broken[:3])}",
            fix="Choose other weights: those of an earlier checkpoint, or of a training that did not diverge.",
        )
    network.load_state_dict({name: weights.get(name, tensor) for name, tensor in wanted.items()})
    return [name for name in weights if name not in wanted]


def fitting(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the weights by the network's own names; raise as `fill` does where they are not those of the network."""
    weights = _without_prefix(weights, wanted)
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in weights and name not in counters]
    shapes = [
        f"{name}: {list(tensor.shape)} in the file, {list(wanted[name].shape)} in the model"
        for name, tensor in weights.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    left_over = [name for name in weights if name not in wanted]
    if missing or shapes:
        lines = [f"missing: {name}" for name in missing[:8]] + shapes[:8]
        lines += [f"unexpected: {name}" for name in left_over if not name.startswith(CLASSIFIERS)][:8]
        raise UserError(
            what,
            expected=f"all {len(wanted) - len(counters)} tensors of the network",
            got=f"{len(missing)} missing, {len(shapes)} of another shape\n    " + "\n    ".join(lines),
            fix="Choose the backbone that the file was made for."
            if missing
            else "Choose the backbone and, for a transformer, the --model.input_size that the file was made for.",
        )
    return weights
