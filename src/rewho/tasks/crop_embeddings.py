"""The embeddings of a crop set, one file of crops after the other, in this process or on the machines of a Ray cluster.

Each file of crops is a task whose result is written whole or not at all. So a run resumes with the files that are left,
memory holds one of them, and the result does not depend on where the tasks were run.

Letters: N crops, D numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rewho.core.artifact import write_file
from rewho.core.check import UserError
from rewho.crops.ray_engine import run_tasks_on_ray
from rewho.crops.shards import CropSet
from rewho.crops.workers import Outcome, run_tasks
from rewho.embedding.exported import ExportedModel, load_model
from rewho.settings import EmbedSettings

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

PARTS = "parts"
"""Folder of the embeddings of single files of crops, removed when they are joined."""

RUNTIME = ".txt"
"""Ending of the files beside them that name the library that computed each."""


class ShardEmbedder:
    """Embeds one file of crops; each process loads the model once.

    Args:
        settings: Crop set, model, folder, batch.
        model: A loaded model, for tasks of this process.
    """

    def __init__(self, settings: EmbedSettings, model: Embedder | ExportedModel | None = None) -> None:
        self._settings, self._model = settings, model
        self._crops: CropSet | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_settings": self._settings, "_model": None, "_crops": None}

    def __call__(self, number: int) -> int:
        """Write the embeddings of file `number` of the set; return how many."""
        settings = self._settings
        if self._crops is None:
            self._crops = CropSet.open(settings.images)
        if self._model is None:  # a worker has one processor
            engine = settings.engine
            self._model = load_model(settings.model, engine.device, engine.threads or 1, settings.runtime)
        counts = [shard.crops for shard in self._crops.contents.shards]
        begin = sum(counts[:number])
        images = [self._crops.bytes(row) for row in range(begin, begin + counts[number])]
        embeddings = self._model.embed(images, flip=settings.flip, batch=settings.batch, of=len(self._crops))
        library = self._model.runtime.encode()
        write_file(part_file(settings.out, number).with_suffix(RUNTIME), lambda file: file.write(library))
        write_file(part_file(settings.out, number), lambda file: np.save(file, embeddings, allow_pickle=False))
        return counts[number]


def part_file(out: Path, number: int) -> Path:
    """Return the path of the embeddings of file `number` of a crop set."""
    return out / PARTS / f"{number:05d}.npy"


def read_runtimes(out: Path) -> list[str]:
    """Return the libraries that computed the embeddings of the files of crops; nothing where there are none."""
    return sorted({file.read_text() for file in (out / PARTS).glob(f"*{RUNTIME}")})


def embed_parts(
    settings: EmbedSettings,
    crops: CropSet,
    model: Embedder | ExportedModel,
    *,
    done: Callable[[int], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Embed the files of a crop set that have no embeddings yet.

    Args:
        settings: Crop set, model, folder, and whether Ray runs the tasks.
        crops: The crop set.
        model: The loaded model, for tasks of this process.
        done: Called with the number of crops of each finished file.
        stop: Whether to start no more tasks.

    Raises:
        UserError: A task ended its process twice, or Ray is not installed.
    """
    left = [number for number in range(len(crops.contents.shards)) if not part_file(settings.out, number).is_file()]
    (settings.out / PARTS).mkdir(exist_ok=True)
    lost = []
    for outcome in _outcomes(settings, left, model, stop):
        if outcome.result is None:
            lost.append(f"{crops.contents.shards[outcome.task].images} ({outcome.lost})")
        else:
            done(outcome.result)
    if lost:
        got = f"{len(lost):,} that ended theirs: {', '.join(lost[:3])}"
        fix = "Run the same command again, which tries them again; if memory was short, with a smaller --batch."
        raise UserError("embedding", expected="files of crops that a process can embed", got=got, fix=fix)


def _outcomes(
    settings: EmbedSettings, left: list[int], model: Embedder | ExportedModel, stop: Callable[[], bool]
) -> Iterator[Outcome[int, int]]:
    if settings.ray:
        model_of = settings.model.absolute() if settings.model.exists() else settings.model  # a path, or a name
        there = replace(settings, images=settings.images.absolute(), out=settings.out.absolute(), model=model_of)
        work = ShardEmbedder(there)
        return run_tasks_on_ray(left, work, settings.workers, settings.address, gpus=settings.gpus, stop=stop)
    return run_tasks(left, ShardEmbedder(settings, model), 0, stop=stop)


def join_parts(out: Path, crops: CropSet, file: Path) -> tuple[int, int]:
    """Write the embeddings of all files of a crop set into one file, float32 [N, D]; return N and D.

    Raises:
        UserError: The embeddings of a file of crops are damaged.
    """
    parts = [_read(part_file(out, number), shard.crops) for number, shard in enumerate(crops.contents.shards)]
    shape = (len(crops), parts[0].shape[1])

    def write(opened: BinaryIO) -> None:
        npy.write_array_header_1_0(opened, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts:
            opened.write(np.ascontiguousarray(part).data)

    write_file(file, write)
    return shape


def _read(file: Path, count: int) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)
        if found.dtype != np.float32 or found.ndim != 2 or len(found) != count:
            raise ValueError(f"{found.dtype} {[*found.shape]} for {count} crops")
    except (OSError, ValueError, EOFError) as error:
        fix = "Remove this file, and run the same command again."
        raise UserError(str(file), expected="embeddings of a file of crops", got=f"{error}", fix=fix) from error
    return found
