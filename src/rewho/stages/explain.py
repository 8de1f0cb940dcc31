"""Show where a model looks: images multiplied with its attention (FD figure 4), singly and on sheets."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from rewho.core.artifact import digest, hash_contents, hash_file, plain, write_file
from rewho.core.check import UserError, is_dir, is_file
from rewho.core.lock import release_locks
from rewho.core.progress import Progress, say
from rewho.core.runtime import run_in_processes
from rewho.core.stage import Stage
from rewho.data.file_lists import list_images
from rewho.embedding.attention import OWN_MAP, compute_attention, shown_views
from rewho.embedding.embedder import load
from rewho.report.attention_sheet import AttentionRow, attention_sheet, shade
from rewho.report.rank_sheet import Image, encode_jpeg
from rewho.settings import ExplainSettings
from rewho.settings.fields import check

FREE_SETTINGS = ("out", "images", "model", "engine")
ROWS_PER_SHEET = 20


@run_in_processes
@release_locks
def run(settings: ExplainSettings) -> Path:
    """Draw attention images; return the first sheet. `single/` beside it has one file per attention image."""
    check(settings)
    began = time.monotonic()
    files = _files(settings.images)
    model = load(settings.model, settings.engine.device, settings.engine.threads, branches=True)
    views = shown_views(model, settings.views)
    inputs = {file.name: hash_file(file) for file in model.weights}
    inputs["images"] = digest([[file.name for file in files], hash_contents(files)])
    stage = Stage(settings.out, "explain", plain(settings), inputs, FREE_SETTINGS)
    first = settings.out / "sheet-1.jpg"
    if stage.begin() == "finished":
        return first
    if not views:
        say(f"{settings.model} has no feature-map branches of a distillation; showing its own map f alone")
    outputs: list[Path] = []
    progress = Progress("explain", len(files), unit="images")
    for number, start in enumerate(range(0, len(files), ROWS_PER_SHEET), 1):
        part = files[start : start + ROWS_PER_SHEET]
        rows = compute_attention(model, part, [file.name for file in part], views, progress.advance)
        outputs.append(_write_jpeg(settings.out / f"sheet-{number}.jpg", attention_sheet(rows)))
        outputs += _write_single(settings.out / "single", rows, start)
    progress.close()
    stage.finish(outputs, {"images": len(files), "maps": [OWN_MAP, *views]}, time.monotonic() - began)
    return first


def _files(images: Sequence[Path]) -> list[Path]:
    """Return the images that were named, and those in the folders that were."""
    files: list[Path] = []
    for path in images:
        files += [path / name for name in list_images(path)] if is_dir(path) else [path]
    missing = [file for file in files if not is_file(file)]
    if not files or missing:
        raise UserError(
            "images to explain",
            expected="image files, or folders of them",
            got=f"nothing at {missing[0]}" if missing else "none",
            fix="Check the path."
            if missing
            else "Name some behind the command: rewho explain a.jpg b.jpg --model MODEL.",
        )
    return files


def _write_single(folder: Path, rows: Sequence[AttentionRow], start: int) -> list[Path]:
    """Write each attention image as a file, numbered because images of two folders may have one name."""
    written = []
    for number, row in enumerate(rows, start + 1):
        stem = re.sub(r"[^\w-]+", "_", Path(row.name).stem)[:80]
        for name, attention in row.maps.items():
            path = folder / f"{number:04d}-{stem}-{name}.jpg"
            written.append(_write_jpeg(path, shade(row.image, attention), quality=95))
    return written


def _write_jpeg(path: Path, image: Image, quality: int = 85) -> Path:
    content = encode_jpeg(image, quality)
    return write_file(path, lambda file: file.write(content))
