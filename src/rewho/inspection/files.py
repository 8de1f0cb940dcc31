"""What a file is: an image, a video, a list, weights, an ONNX file, embeddings, a recipe, or something else."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS, check_regular, read_json, read_text, read_yaml
from rewho.core.tensors import tensor_shapes
from rewho.core.text import quantity
from rewho.data.datasets import read_settings
from rewho.data.file_lists import CONVERTIBLE, IMAGE_ENDINGS
from rewho.data.images import decode
from rewho.inspection.answer import Answer, commands_for_videos, word
from rewho.inspection.folders import CARD, describe_folder, describe_splits
from rewho.settings import DataSettings, LimitSettings

LIST_LIMIT = 64 * 2**20  # bytes of a list that is read
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
TORCH_FILES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
LARGEST_EVIDENCE = 2**29  # bytes of all files in an archive that is checked
LARGEST_PROBED = 2**31  # bytes; a video is read once when it is probed


def describe_file(path: Path) -> Answer:
    """Return what a file is, by its ending and its content."""
    ending = path.suffix.lower()
    if not path.stat().st_size:
        return Answer("an empty file", [], ["It has no byte: copy it again."], [])
    try:
        check_regular(path)
    except UserError as error:
        return Answer(f"a {ending} file that cannot be read".replace("  ", " "), [], [f"{error.got}. {error.fix}"], [])
    for endings, describe in KINDS:
        if ending in endings:
            try:
                return describe(path)
            except UserError as error:
                return Answer(f"a {ending} file that cannot be read", [], [f"{error.got}. {error.fix}"], [])
    return Answer(f"a file of a kind that rewho does not use ({ending or 'no ending'})", [_size(path)])


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def _describe_image(path: Path) -> Answer:
    height, width, _ = decode(path).shape
    wide = width > height
    odd = ["It is wider than high: a scene rather than one upright person."] if wide else []
    here = word(path)
    return Answer(
        f"an image, {height} x {width} pixels (height x width)",
        [_size(path)],
        odd,
        [
            f"rewho search {here} --in FOLDER",
            f"rewho compare {here} OTHER.jpg",
            f"rewho explain {here}",
        ],
    )


def _describe_foreign_image(path: Path) -> Answer:
    return Answer("an image of a kind that is not read", [_size(path)], ["Convert it to JPEG or PNG."])


def _describe_video(path: Path) -> Answer:
    facts, odd = [_size(path)], []
    if find_spec("av") is None:
        odd.append("PyAV, which reads videos, is not installed: install rewho with the extra `video`.")
    elif path.stat().st_size <= LARGEST_PROBED:
        from rewho.video.frames import probe

        known = probe(path, LimitSettings(seconds=8), still_frames=0)
        if known.status == "ok":
            facts.append(
                f"{known.width} x {known.height} pixels, {known.fps:.1f} frames per second, {known.duration:,.1f} s, "
                f"{quantity(known.frames, 'frames')}, codec {known.codec}"
            )
        else:
            odd.append(f"It cannot be read whole: {': '.join(filter(None, (known.reason, known.detail)))}.")
    return Answer("a video", facts, odd, [*commands_for_videos(path), f"rewho look {word(path.absolute().parent)}"])


def _describe_list(path: Path) -> Answer:
    text = read_text(path, LIST_LIMIT)
    if path.suffix.lower() == ".txt":
        lines = [line for line in text.splitlines() if line.strip()]
        there = sum((path.parent / line.strip()).is_file() for line in lines[:100])
        odd = [] if there else ["None of its first lines is the path of a file, seen from its own folder."]
        fact = f"of the first {min(100, len(lines))}, {there} are paths of files; the first is {lines[0][:80]!r}"
        return Answer(
            f"a text file of {len(lines):,} lines",
            [fact],
            odd,
            commands_for_videos(path) if there else [],
        )
    header = next(csv.reader(io.StringIO(text)), [])
    columns = [name.strip().lower() for name in ",".join(header).replace(";", ",").replace("\t", ",").split(",")]
    if "path" in columns and "person" not in columns:
        videos = any(ending in text.lower() for ending in VIDEO_ENDINGS)
        what = "a list of videos" if videos else "a list of files without people"
        return Answer(what, [f"columns {', '.join(columns)}"], [], commands_for_videos(path) if videos else [])
    table = read_settings(DataSettings(path))
    here = word(path)
    notes = [note for note in table.notes if not note.startswith("Read as")]
    commands = [f"rewho train {here} --out runs/{word(path.stem)}", f"rewho evaluate starter --data {here}"]
    return Answer(f"a data set in a list, {table.name}", describe_splits(table), notes, commands)


def _describe_yaml(path: Path) -> Answer:
    content = read_yaml(path)
    if not isinstance(content, dict):
        return Answer("a YAML file without names and values", [], ["A recipe has lines such as `epochs: 80`."])
    here, about = word(path), content.get("about")
    about = about if isinstance(about, dict) else {}
    if "network" in content:
        return Answer("the description of a network as a teacher", [f"network {content['network']}"])
    if {"top", "bottom"} <= content.keys():
        return Answer("a view of the image", [], [], [f"rewho train DATA --view {here}"])
    if {"videos", "crops", "terms"} & content.keys() and not about:
        return Answer("a project", [f"of {', '.join(map(str, content))[:160]}"], [], [f"rewho run {here} --plan"])
    if {"runs", "rows"} & content.keys() or "steps" in content:
        return Answer("a table of experiments", [], [], [f"rewho table {here} --plan"])
    command = str(about.get("command", "")).split()
    name = command[1] if len(command) > 1 and command[0] == "rewho" else "train"
    facts = [f"{key}: {str(value).strip()[:160]}" for key, value in about.items()]
    commands = [f"rewho {name} --recipe {here} --print_config"]
    commands += [f"rewho {name} --recipe {here} --smoke"] if "smoke" in content else []
    return Answer("a recipe", facts or [f"sets {', '.join(map(str, content))[:160]}"], [], commands)


def _describe_onnx(path: Path) -> Answer:
    if find_spec("onnxruntime") is None:
        missing = "onnxruntime, which reads it, is not installed: install rewho with the extra `export`."
        return Answer("an ONNX file", [_size(path)], [missing])
    from rewho.core.onnx_session import OnnxSession

    try:
        session = OnnxSession(path, "network")
    except UserError as error:
        return Answer("an ONNX file that rewho cannot run", [_size(path)], [f"got {error.got}. {error.fix}"])
    height, width = session.size
    facts = [f"takes images of {height or 'any'} x {width or 'any'}; outputs {', '.join(session.outputs)}", _size(path)]
    detector = f"rewho crop VIDEO --detector onnx --detector.weights {word(path)}"
    return Answer("an ONNX file that takes images", facts, [], [detector])


def _describe_safetensors(path: Path) -> Answer:
    shapes = tensor_shapes(path)
    if (path.parent / CARD).is_file():
        found = describe_folder(path.absolute().parent)
        return Answer(f"the weights of a model folder: {found.what}", found.facts, found.odd, found.commands)
    numbers = sum(math.prod(shape) for shape in shapes.values())
    first = ", ".join(list(shapes)[:3])
    facts = [f"{quantity(len(shapes), 'tensors')}, {numbers:,} numbers, such as {first}"]
    return Answer("weights", facts, [], [f"rewho train DATA --init {word(path)} --backbone NAME"])


def _describe_torch_file(path: Path) -> Answer:
    facts = [_size(path), "a file of torch.save, which is opened only as tensors: nothing in it runs"]
    return Answer("weights, by its ending", facts, [], [f"rewho train DATA --init {word(path)} --backbone NAME"])


def _describe_array(path: Path) -> Answer:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, kind = list(array.shape), array.dtype
    except (ValueError, OSError, EOFError) as error:
        return Answer("a damaged array", [], [f"{error}"])
    if array.ndim == 2 and np.issubdtype(kind, np.floating):
        beside = path.with_name("images.csv").is_file()
        odd = [] if beside else ["images.csv, with the image of each row, is not beside it."]
        commands = [f"rewho search QUERY.jpg --in {word(path.absolute().parent)}"] if beside else []
        return Answer(f"embeddings of {shape[0]:,} images, {shape[1]:,} numbers each", [f"{kind}"], odd, commands)
    return Answer(f"an array of shape {shape}, {kind}")


def _describe_archive(path: Path) -> Answer:
    if path.suffix.lower() == ".zip" and (wrong := _check_evidence(path)) is not None:
        facts = [] if wrong else ["Every file is as it was when the gallery signed the export."]
        return Answer("evidence that a gallery exported", [_size(path), *facts], [f"{one}." for one in wrong])
    return Answer("an archive", [_size(path)], ["Unpack it, then look at its folder."])


def _check_evidence(path: Path) -> list[str] | None:
    """Return what in an export of a gallery was changed since; None for another archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if "manifest.json" not in sizes or sum(sizes.values()) > LARGEST_EVIDENCE:
                return None
            signed = json.loads(archive.read("manifest.json"))
        if find_spec("cryptography") is None or not isinstance(signed, dict) or "signature" not in signed:
            return None
        from rewho.gallery.cases import check_export

        return check_export(path)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError):
        return None


def _describe_json(path: Path) -> Answer:
    content = read_json(path)
    if path.name in (CARD, "run.json", "manifest.json", "index.json"):
        return describe_folder(path.absolute().parent)
    return Answer("a JSON file", [f"has {', '.join(map(str, content))[:160]}"])


KINDS: tuple[tuple[tuple[str, ...], Callable[[Path], Answer]], ...] = (
    (IMAGE_ENDINGS, _describe_image),
    (tuple(CONVERTIBLE), _describe_foreign_image),
    (tuple(VIDEO_ENDINGS), _describe_video),
    ((".csv", ".tsv", ".txt"), _describe_list),
    ((".yaml", ".yml"), _describe_yaml),
    ((".onnx",), _describe_onnx),
    ((".safetensors",), _describe_safetensors),
    (TORCH_FILES, _describe_torch_file),
    ((".npy",), _describe_array),
    (ARCHIVES, _describe_archive),
    ((".json",), _describe_json),
)
"""Endings, and what answers for them."""
