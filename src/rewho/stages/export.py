"""Export a model as one file that runs without rewho, named only after its embeddings match the model's."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
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
from rewho.core.shipped import CARD, TENSORS, open_model
from rewho.core.stage import Stage
from rewho.data.augment import resize
from rewho.data.datasets import read_settings
from rewho.data.file_lists import list_images
from rewho.data.images import decode
from rewho.data.table import ImageTable
from rewho.data.views import View
from rewho.embedding.embedder import embed_batches, view_of
from rewho.embedding.exported import ExportedModel
from rewho.embedding.images import in_batches
from rewho.embedding.onnx_network import OnnxNetwork
from rewho.embedding.scoring import rank_table
from rewho.export.card import build_export_facts, build_readme
from rewho.export.parity import Parity, check_parity, compute_parity
from rewho.export.quantise import (
    Quantisation,
    check_quantisation,
    compare_embeddings,
    describe_quantisation,
    labelled_figures,
    quantise,
    unlabelled_figures,
)
from rewho.models.graph import EmbeddingGraph, program_bytes
from rewho.models.single_view import parameter_count
from rewho.models.traced import OPSET, check_packages, onnx_bytes
from rewho.models.weights import SUMS, load_model
from rewho.rank.metrics import evaluate
from rewho.rendered import Camera, Identity, render_person
from rewho.settings import DataSettings, ExportSettings
from rewho.settings.export import FEWEST as FEWEST_TO_CALIBRATE
from rewho.settings.fields import check
from rewho.tasks.unlabelled import read_images

FREE_SETTINGS = ("out", "model", "check", "batch", "calibration.images", "data.root", "data.workers", "data.memory_gb")
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
    table = _labelled(settings)
    calibration = None if settings.calibration.images is None else read_images(settings.calibration.images)
    if calibration is not None:
        inputs["calibration"] = calibration.sha256
    if table is not None:
        inputs["data"] = table.digest()
    stage = Stage(settings.out, "export", plain(settings), inputs, FREE_SETTINGS)
    if stage.begin() == "finished":
        return settings.out
    remove_unfinished(settings.out)
    if settings.format == "onnx":
        check_packages()
    graph = EmbeddingGraph(model, flip=settings.flip, unit=settings.unit)
    batches = _batches(files, view, settings.batch)
    content, written = _traced(settings.format, graph, card, source)
    parity = _keep_if_same(settings.out / name, content, graph, batches)
    counts: dict[str, Any] = {}
    if calibration is not None:
        content, changed = _quantised(settings, settings.out / name, graph, view, calibration.images, table)
        written |= {"quantisation": plain(changed)}
        counts = {"quantisation": plain(changed)}
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
    stage.finish(outputs, {"bytes": len(content), **plain(parity), **counts}, time.monotonic() - began)
    return settings.out


def _labelled(settings: ExportSettings) -> ImageTable | None:
    """Return the labelled data set that an int8 file is measured on; None without."""
    if settings.data.root is None:
        return None
    given = {option.name: getattr(settings.data, option.name) for option in fields(DataSettings)}
    return read_settings(DataSettings(**given))


def _quantised(
    settings: ExportSettings,
    path: Path,
    graph: EmbeddingGraph,
    view: View,
    images: Sequence[Any],
    table: ImageTable | None,
) -> tuple[bytes, Quantisation]:
    """Replace the float file by an int8 one, if that loses little; return its bytes and what it changes."""
    if len(images) < FEWEST_TO_CALIBRATE:
        fix = "Give more: a few hundred of all cameras."
        expected = f"a folder of {FEWEST_TO_CALIBRATE} images or more"
        raise UserError("--calibration.images", expected=expected, got=f"{len(images)}", fix=fix)
    content = path.read_bytes()
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), settings.calibration.count)).round().astype(int))
    chosen = [images[row] for row in rows]
    pixels = (
        resize([decode(one) if isinstance(one, Path) else one for one in part], view)
        for part in in_batches(chosen, settings.batch)
    )
    say(f"finding the ranges of the numbers on {len(chosen):,} images")
    made = quantise(content, pixels, settings.calibration)
    aside = write_file(path.with_name(f"{ASIDE}{os.getpid()}-{path.name}"), lambda file: file.write(made))
    try:
        found = _compared(settings, (path, aside), graph, view, chosen, table)
        say(describe_quantisation(found))
        for reason in check_quantisation(found, force=settings.force):
            say(f"warning: kept because of --force, although it has {reason}")
        aside.replace(path)
    except UserError:
        path.unlink(missing_ok=True)
        raise
    finally:
        aside.unlink(missing_ok=True)
    return made, found


def _compared(
    settings: ExportSettings,
    paths: tuple[Path, Path],
    graph: EmbeddingGraph,
    view: View,
    images: Sequence[Any],
    table: ImageTable | None,
) -> Quantisation:
    """Return what differs between the float file and the int8 file."""
    threads = torch.get_num_threads()
    both = [
        ExportedModel.of_file(path, view, mirrored=graph.flip, unit=graph.unit, device="cpu", threads=threads)
        for path in paths
    ]
    before, after = (model.embed(images, batch=settings.batch) for model in both)
    sides = [unlabelled_figures(check_embeddings("the file's", side)) for side in (before, after)]
    if table is not None:
        sides = []
        for model in both:
            ranking = rank_table(model, table, batch=settings.batch)
            scores = evaluate(ranking)
            sides.append(labelled_figures(ranking, scores.values["mAP_rectangular"], float(scores.cmc[0])))
    cosine, same = compare_embeddings(before, after)
    sizes = [path.stat().st_size for path in paths]
    return Quantisation(len(images), cosine, same, sides[0], sides[1], len(images), sizes[0], sizes[1])


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
        opened = OnnxNetwork.open(aside) if path.suffix == ".onnx" else _program(content)
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
