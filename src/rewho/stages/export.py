"""Export a model as one file that runs without rewho, named only after its embeddings match the model's."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rewho.core.artifact import ASIDE, hash_contents, hash_file, plain, remove_unfinished, write_file, write_json
from rewho.core.check import UserError, check_embeddings
from rewho.core.lock import release_locks
from rewho.core.progress import say
from rewho.core.runtime import generator, run_in_processes
from rewho.core.shipped import open_model
from rewho.core.stage import Stage
from rewho.data.augment import resize
from rewho.data.file_lists import list_images
from rewho.data.images import decode
from rewho.data.views import View
from rewho.embedding.embedder import embed_batches, in_batches, view_of
from rewho.embedding.onnx_network import OnnxNetwork
from rewho.export.card import build_export_facts, build_readme
from rewho.export.graph import EmbeddingGraph, program_bytes
from rewho.export.onnx import OPSET, check_packages, onnx_bytes
from rewho.export.parity import Parity, check_parity, compute_parity
from rewho.models.single_view import parameter_count
from rewho.models.weights import CARD, SUMS, TENSORS, load_model
from rewho.rendered import Camera, Identity, render_person
from rewho.settings import ExportSettings
from rewho.settings.fields import check

FREE_SETTINGS = ("out", "model", "check", "batch")
FILES = {"onnx": "model.onnx", "pt2": "model.pt2"}
PAGE = "README.md"
CPU = torch.device("cpu")
RENDERED, PER_PERSON, SEED = 48, 4, 1
FEWEST = 12  # images: with fewer, all images are among the ten nearest of each, and their order proves little


@run_in_processes
@release_locks
def run(settings: ExportSettings) -> Path:
    """Export a model; return the folder with the file, model.json, README.md and manifest.json."""
    check(settings)
    began = time.monotonic()
    name = FILES[settings.format]
    folder = open_model(settings.model)
    model, card = load_model(folder)
    view, source = view_of(model), hash_file(folder / TENSORS)
    files = [settings.check / file for file in list_images(settings.check)] if settings.check else []
    inputs = {"model": source, "card": hash_file(folder / CARD), "images": hash_contents(files)}
    inputs |= view.inputs()
    stage = Stage(settings.out, "export", plain(settings), inputs, FREE_SETTINGS)
    if stage.begin() == "finished":
        return settings.out
    remove_unfinished(settings.out)
    if settings.format == "onnx":
        check_packages()
    graph, batches = EmbeddingGraph(model, flip=settings.flip), _batches(files, view, settings.batch)
    content, written = _traced(settings.format, graph, card, source)
    parity = _keep_if_same(settings.out / name, content, graph, batches)
    box = (view.top, view.bottom, view.left, view.right)
    sums = {SUMS: {name: hashlib.sha256(content).hexdigest()}}
    exported = {
        **card,
        **sums,
        "export": build_export_facts(graph, written, box, view.mask is not None, source, parity),
    }
    page = build_readme(exported, box, parameter_count(model))
    outputs = [
        settings.out / name,
        write_json(settings.out / CARD, exported),
        write_file(settings.out / PAGE, lambda file: file.write(page.encode())),
    ]
    stage.finish(outputs, {"bytes": len(content), **plain(parity)}, time.monotonic() - began)
    return settings.out


def _traced(kind: str, graph: EmbeddingGraph, card: dict[str, Any], source: str) -> tuple[bytes, dict[str, Any]]:
    """Return the file's bytes and the description of its format."""
    if kind == "pt2":
        return program_bytes(graph), {"format": kind, "file": FILES[kind], "torch": torch.__version__}
    own = {key: card[key] for key in ("mean", "std", "licence") if key in card}
    content = onnx_bytes(graph, own | {"view": graph.model.settings.view, "source_sha256": source})
    return content, {"format": kind, "file": FILES[kind], "opset": OPSET}


def _keep_if_same(
    path: Path, content: bytes, graph: EmbeddingGraph, batches: Callable[[], Iterator[NDArray[np.uint8]]]
) -> Parity:
    """Write a file under a temporary name, compare its embeddings with the network's, then rename it."""
    aside = write_file(path.with_name(f"{ASIDE}{os.getpid()}-{path.name}"), lambda file: file.write(content))
    try:
        opened = OnnxNetwork(aside) if path.suffix == ".onnx" else _program(content)
        expected, found = (
            np.concatenate(list(embed_batches(network, batches(), CPU, flip=False))) for network in (graph, opened)
        )
        parity = compute_parity(check_embeddings("the model's", expected), found)
        check_parity(parity, f"export to {path}")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    say(f"on {parity.images} images the file differs from the model by at most {parity.relative_difference:.1e}")
    return parity


def _program(content: bytes) -> nn.Module:
    """Load a program of torch. It may run code, which is safe for bytes that this process made."""
    return torch.export.load(io.BytesIO(content)).module()


def _batches(files: Sequence[Path], view: View, batch: int) -> Callable[[], Iterator[NDArray[np.uint8]]]:
    """Return a function that yields the images to compare on, uint8 [at most `batch`, H, W, 3]."""
    if files and len(files) < FEWEST:
        fix = "Give more, or leave --check out to use rendered people."
        raise UserError("--check", expected=f"a folder of {FEWEST} images or more", got=f"{len(files)}", fix=fix)
    images: Sequence[Path | NDArray[np.uint8]] = files or _rendered()
    in_batches(images, batch)
    return lambda: (
        resize([decode(one) if isinstance(one, Path) else one for one in part], view)
        for part in in_batches(images, batch)
    )


def _rendered() -> list[NDArray[np.uint8]]:
    """Return images of rendered people, `PER_PERSON` of each."""
    return [
        render_person(
            Identity.draw(SEED, number // PER_PERSON),
            Camera.draw(SEED, number % PER_PERSON),
            generator(SEED, "pictures to compare an export on", number),
        ).image
        for number in range(RENDERED)
    ]
