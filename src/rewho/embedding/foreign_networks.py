"""Teachers: any network that gives one vector per image and view (FD section 5).

Ours are model folders. Others are described in a YAML file::

    network: timm:vit_small_patch16_224.dino    # or timm:hf-hub:OWNER/NAME, backbone:NAME of ours with average
                                                # pooling behind it, or a .onnx file beside this one
    view: up1                                   # a view's name, or its YAML file
    size: [224, 224]                            # input height and width; default: the file's own, or the view's
    mean: [0.485, 0.456, 0.406]                 # of RGB in 0 to 1; default: timm's for these weights
    std: [0.229, 0.224, 0.225]
    weights: student.safetensors                # for timm: a file, or `none`; default: the hub's. For ours: a file
    colours: RGB                                # or BGR; `layout` NCHW or NHWC, `output` by name: for ONNX files

Every network is wrapped as a module that takes bytes, so that batching, flipping and masks are the same code for all.

Letters: N images, H and W height and width of the input, D width of the vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewho.core.artifact import digest as digest_of
from rewho.core.artifact import hash_file
from rewho.core.check import UserError, check_choice, check_flag, resolve_inside
from rewho.core.device import pick_device
from rewho.core.files import read_yaml
from rewho.core.network import use_hub_cache_offline
from rewho.core.onnx_session import LAYOUTS
from rewho.core.shipped import find_model
from rewho.core.tensors import read_weights
from rewho.data.augment import resize
from rewho.data.images import decode
from rewho.data.view_file import read_view
from rewho.data.view_masks import known_fields
from rewho.data.views import View
from rewho.embedding.embedder import embed_batches, load, view_of
from rewho.embedding.images import in_batches
from rewho.models.backbone import build_backbone
from rewho.models.loading import load_tensors
from rewho.models.single_view import IMAGENET_MEAN, IMAGENET_STD
from rewho.settings import DeviceSettings

TIMM, OURS = "timm:", "backbone:"
HUB = ("hf-hub:", "hf_hub:")  # how timm's names of models on the Hugging Face hub begin
OPTIONAL_FIELDS = ("view", "size", "mean", "std", "weights", "colours", "layout", "output")


@dataclass(frozen=True)
class Teacher:
    """A network that gives one vector of length `width` for each image of a view.

    `network` takes uint8 RGB [N, 3, H, W] and returns [N, D]; `digest` covers weights and preprocessing;
    `mean_colour`, 0 to 255, fills masked-out pixels.
    """

    name: str
    view: View
    width: int
    digest: str
    network: nn.Module
    device: torch.device
    mean_colour: tuple[float, ...]

    def embed_batches(
        self, batches: Iterable[NDArray[np.uint8]], *, flip: bool = True
    ) -> Iterator[NDArray[np.float32]]:
        """Yield float32 [N, D] for each batch of images uint8 [N, H, W, 3], cropped and resized to the view.

        With `flip`, each is the mean of the vectors of an image and its mirror image (FD equation 2).
        """
        return embed_batches(self.network, batches, self.device, flip=flip)

    def stream(self, files: Sequence[Path], *, flip: bool = True, batch: int = 64) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of image files, at most `batch` at a time."""
        parts, flip = in_batches(files, batch), check_flag("flip", flip)

        def prepare() -> Iterator[NDArray[np.uint8]]:
            for part in parts:
                shown = [self.view.masked(decode(file), str(file), self.mean_colour) for file in part]
                yield resize(shown, self.view)

        return self.embed_batches(prepare(), flip=flip)


def open_teacher(source: str | Path, view: View | None, engine: DeviceSettings) -> Teacher:
    """Open a teacher: a model folder, a YAML file that describes another network, or `timm:NAME`.

    `view` is None if the source names it.
    """
    path = find_model(source)
    if path.is_dir():
        return _open_own(path, view, engine)
    if path.suffix in (".yaml", ".yml"):
        fields, folder = _read_description(path), path.parent
    elif str(source).startswith(TIMM):
        fields, folder = {"network": str(source)}, Path()
    else:
        raise UserError(
            f"teacher {source}",
            expected="a model folder, a YAML file that describes a network, or timm:NAME",
            got="an ONNX file alone" if path.suffix == ".onnx" else "something else",
            fix="Describe it in a YAML file: its network, view, mean and std.",
        )
    name = path.stem if path.suffix in (".yaml", ".yml") else str(source).removeprefix(TIMM)
    seen = _view(f"teacher {source}", fields, folder, view)
    if str(fields["network"]).startswith(TIMM):
        return _open_timm(name, fields, folder, seen, engine)
    if str(fields["network"]).startswith(OURS):
        return _open_backbone(name, fields, folder, seen, engine)
    return _open_onnx(name, fields, folder, seen, engine)


def _open_own(folder: Path, view: View | None, engine: DeviceSettings) -> Teacher:
    model = load(folder, engine.device, engine.threads)
    own = view_of(model.model)
    if view is not None and view.name != own.name:
        expected, fix = f"one for the view {view.name}", "Name a teacher of that view."
        raise UserError(f"teacher {folder}", expected=expected, got=f"one for {own.name}", fix=fix)
    colour, width = tuple(model.model.mean.tolist()), model.model.settings.embedding
    identity = _identity(hash_file(model.weights[0]), own)
    return Teacher(folder.name, own, width, identity, model.model, model.device, colour)


def _identity(weights: str, view: View) -> str:
    """Return a teacher's digest: of its weights, and of its view unless it is one of the paper's."""
    inputs = view.inputs()
    return digest_of({"weights": weights} | inputs) if inputs else weights


def _read_description(path: Path) -> dict[str, Any]:
    what = f"teacher {path}"
    fields = known_fields(what, read_yaml(path, what), ("network",), OPTIONAL_FIELDS)
    for name in ("network", "view", "weights", "colours", "layout", "output"):
        if not isinstance(fields.get(name, ""), str):
            raise UserError(
                f"teacher {path}, {name}", expected="a text", got=repr(fields[name])[:60], fix="Put it in quotes."
            )
    return fields


def _view(what: str, fields: dict[str, Any], folder: Path, view: View | None) -> View:
    """Return the view of the description, or else `view`, at the network's input size."""
    named = str(fields.get("view", ""))
    if not named and view is None:
        raise UserError(what, expected="a view", got="none", fix="Write `view: up1` into the description.")
    if named:
        own = read_view(resolve_inside(folder, named, what) if named.endswith((".yaml", ".yml")) else named)
        if view is not None and view.name != own.name:
            raise UserError(what, expected=f"a teacher for {view.name}", got=f"one for {own.name}", fix="Choose one.")
        view = own
    assert view is not None
    size = fields.get("size")
    return replace(view, size=tuple(size) if isinstance(size, list) else (size,)) if size is not None else view


def _channels(what: str, fields: dict[str, Any], name: str, default: Sequence[float] | None) -> tuple[float, ...]:
    """Return mean or std of the three channels, 0 to 1."""
    values: Any = fields.get(name, default)
    numbers = isinstance(values, list | tuple) and all(isinstance(value, int | float) for value in values)
    lowest = 0.0 if name == "mean" else 1e-6  # nothing is divided by zero
    if not numbers or len(values) != 3 or not all(lowest <= value <= 1 for value in values):
        expected = "three numbers from 0 to 1, for red, green and blue"
        fix = f"Write what the network was trained with, such as `{name}: [0.485, 0.456, 0.406]`."
        raise UserError(f"{what}, {name}", expected=expected, got=str(values), fix=fix)
    return tuple(float(value) for value in values)


class _Normalised(nn.Module):
    """A network behind the normalisation of its input, so that it takes bytes."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], bgr: bool = False) -> None:
        super().__init__()
        self.network, self.bgr = network, bgr
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, 255 * torch.tensor(values)[None, :, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        own = getattr(self.network, "takes_bytes", False)  # then it normalises by itself
        prepared = images if own else (images.float() - self.mean) / self.std
        vectors: Tensor = self.network(prepared.flip(1) if self.bgr else prepared)
        return vectors.flatten(1) if vectors.shape[2:].numel() == 1 else vectors


def _finish(
    name: str, view: View, network: _Normalised, weights: str, fields: dict[str, Any], device: torch.device
) -> Teacher:
    """Check the network on a grey image and return the teacher."""
    mean = network.mean.flatten().tolist()
    network = network.to(device).eval()
    try:
        with torch.inference_mode():
            vectors = network(torch.full((2, 3, *view.size), 128, dtype=torch.uint8, device=device))
    except Exception as error:  # other people's networks raise errors of any type
        got = (
            error.got if isinstance(error, UserError) else f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        )
        if isinstance(error, UserError) and "row per image" in error.expected:
            raise
        raise UserError(
            f"teacher {name}",
            expected=f"a network for images of {view.size[0]} x {view.size[1]}",
            got=got,
            fix="Set `size` to the network's input size, and `layout` for an ONNX file.",
        ) from error
    if vectors.ndim != 2 or len(vectors) != 2 or not bool(torch.isfinite(vectors).all()):
        got = f"an output of shape {list(vectors.shape)} for two images"
        fix = "Choose a network that ends in pooling, without a classifier on top, or name its `output`."
        if vectors.ndim == 2 and len(vectors) == 2:
            got, fix = "values that are not finite", "Check its weights, and its `mean` and `std`, or export it again."
        raise UserError(f"teacher {name}", expected="one finite vector per image", got=got, fix=fix)
    prepared = {key: str(value) for key, value in fields.items() if key not in ("network", "weights")}
    if "view" in prepared:
        prepared["view"] = view.name  # not the path of its file
    identity = _identity(digest_of({"weights": weights, "prepared": prepared, "size": view.size}), view)
    return Teacher(name, view, vectors.shape[1], identity, network, device, tuple(mean))


def _open_timm(name: str, fields: dict[str, Any], folder: Path, view: View, engine: DeviceSettings) -> Teacher:
    import timm

    model_name, weights = str(fields["network"]).removeprefix(TIMM), fields.get("weights")
    if not timm.is_model(model_name) and not model_name.startswith(HUB):
        near = timm.list_models(f"*{model_name.split('_')[0].split('.')[0]}*")[:3]
        hint = f"Did you mean one of {', '.join(near)}?" if near else "See timm's list of models."
        raise UserError("teacher's network", expected="a model that timm knows", got=repr(model_name), fix=hint)
    try:
        with nullcontext() if weights is not None else use_hub_cache_offline():
            network = timm.create_model(
                model_name, pretrained=weights is None, num_classes=0, **_timm_size(view, model_name)
            )
    except Exception as error:  # the hub and the connection raise errors of many types
        raise UserError(
            f"teacher {name}",
            expected=f"timm's {model_name}" + (" with its weights from the hub" if weights is None else ""),
            got=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
            fix="Check the connection, or give a `weights` file.",
        ) from error
    if weights not in (None, "none"):
        file = resolve_inside(folder, weights, f"teacher {name}")
        load_tensors(network, read_weights(file), f"{file}")
    what = f"teacher {name}"
    config: Any = network.pretrained_cfg
    mean = _channels(what, fields, "mean", config.get("mean"))
    std = _channels(what, fields, "std", config.get("std"))
    digest = hashlib.sha256(model_name.encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return _finish(name, view, _Normalised(network, mean, std), digest.hexdigest(), fields, pick_device(engine.device))


def _open_backbone(name: str, fields: dict[str, Any], folder: Path, view: View, engine: DeviceSettings) -> Teacher:
    """Open a backbone of ours with the weights of another program, such as fast-reid or torchreid."""
    what, weights = f"teacher {name}", fields.get("weights")
    if weights is None:
        fix = "Write `weights: FILE` into the description."
        raise UserError(what, expected="a file with the backbone's weights", got="none", fix=fix)
    backbone = build_backbone(str(fields["network"]).removeprefix(OURS), input_size=view.size)
    file = resolve_inside(folder, weights, what)
    load_tensors(backbone.body, read_weights(file), f"{file}")
    network = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    mean, std = (_channels(what, fields, *one) for one in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
    identity = digest_of({"network": fields["network"], "weights": hash_file(file)})
    return _finish(name, view, _Normalised(network, mean, std), identity, fields, pick_device(engine.device))


def _timm_size(view: View, model_name: str) -> dict[str, Any]:
    """Return the argument that sets a transformer's input size; convolutional networks accept any."""
    import timm

    config = timm.models.get_pretrained_cfg(model_name)
    return {"img_size": view.size} if config is not None and config.fixed_input_size else {}


def _open_onnx(name: str, fields: dict[str, Any], folder: Path, view: View, engine: DeviceSettings) -> Teacher:
    from rewho.embedding.onnx_network import OnnxNetwork

    what = f"teacher {name}"
    path = resolve_inside(folder, fields["network"], what)
    layout = check_choice(f"{what}, layout", fields["layout"], tuple(LAYOUTS)) if "layout" in fields else ""
    bgr = check_choice(f"{what}, colours", str(fields.get("colours", "RGB")), ("RGB", "BGR")) == "BGR"
    device = pick_device(engine.device)
    network = OnnxNetwork.open(path, layout, str(fields.get("output", "")), on_gpu=device.type == "cuda")
    if network.input_size is not None and "size" not in fields:
        view = replace(view, size=network.input_size)
    mean = _channels(what, fields, "mean", network.metadata("mean"))
    std = _channels(what, fields, "std", network.metadata("std"))
    return _finish(name, view, _Normalised(network, mean, std, bgr), network.sha256, fields, device)
