"""Embeddings of many images, computed once and kept in a file; only new and changed images are embedded again.

A file belongs to one model (by the hash of its weights and its view), one way of embedding and one gallery. It holds
the sha256 of each image beside its embedding, so a renamed image is known and a changed one is not, and the library
that computed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rewho.core.artifact import digest, write_file
from rewho.core.progress import say
from rewho.core.text import quantity
from rewho.embedding.exported import ExportedModel

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder

HASH_BYTES = 32


def reuse_embeddings(
    model: Embedder | ExportedModel,
    images: Sequence[Any],
    hashes: Sequence[str],
    file: Path,
    *,
    flip: bool = True,
    batch: int = 64,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the embeddings of images, float32 [N, D], from a file where it has them; the file is brought up to date.

    The names of the libraries that computed them follow.

    Args:
        model: A loaded model.
        images: N images as `Embedder.embed` takes them; only those that are not known are read.
        hashes: The sha256 of each image, in hexadecimal.
        file: The file; see `file_name`.
        flip: Average the embeddings of an image and its mirror image.
        batch: Images per forward pass.
        done: Called with the number of images of each finished batch.
    """
    kept = _read(file)
    rows = {key: row for row, key in enumerate(kept[0])} if kept else {}
    new = [place for place, key in enumerate(hashes) if key not in rows]
    if kept and new:
        say(f"{len(new):,} of {len(images):,} images are new or changed since the last search: embedding them")
    elif not kept:
        say(
            f"embedding {quantity(len(images), 'images')} with this model for the first time; later searches reuse them"
        )
    made = (
        model.embed([images[place] for place in new], flip=flip, batch=batch, done=done, of=len(images))
        if new
        else None
    )
    width = (made if made is not None else kept[1]).shape[1]  # type: ignore[index] # without a file, all are new
    embeddings = np.empty((len(images), width), np.float32)
    runtimes = np.full(len(images), model.runtime, "<U16")
    if kept:
        known = [place for place, key in enumerate(hashes) if key in rows]
        places = [rows[hashes[place]] for place in known]
        embeddings[known], runtimes[known] = kept[1][places], kept[2][places]
    if made is not None:
        embeddings[new] = made
    if new or (kept and len(kept[0]) != len(hashes)):
        _write(file, hashes, embeddings, runtimes)
    return embeddings, sorted(set(runtimes.tolist()))


def file_name(identity: Mapping[str, Any], gallery: Path, *, flip: bool) -> str:
    """Return the name of the file of the embeddings of a gallery by a model with this identity."""
    return f"{digest([dict(identity), flip, str(gallery.resolve())])[:24]}.npz"


def _read(file: Path) -> tuple[list[str], NDArray[np.float32], NDArray[np.str_]] | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            keys, embeddings, runtimes = content["sha256"], content["embeddings"], content["runtimes"]
        sound = keys.dtype == np.uint8 and keys.shape == (len(embeddings), HASH_BYTES) and embeddings.ndim == 2
        sound = sound and runtimes.dtype.kind == "U" and runtimes.shape == (len(embeddings),)
        if not sound or embeddings.dtype != np.float32 or not len(embeddings) or not np.isfinite(embeddings).all():
            raise ValueError("other arrays than were written")
    except (ValueError, OSError, KeyError, EOFError, TypeError, AttributeError) as error:
        say(f"warning: the embeddings kept in {file} are damaged ({error}): computing them again")
        return None
    return [bytes(key).hex() for key in keys], embeddings, runtimes


def _write(file: Path, hashes: Sequence[str], embeddings: NDArray[np.float32], runtimes: NDArray[np.str_]) -> None:
    keys = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), HASH_BYTES)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, lambda opened: np.savez(opened, sha256=keys, embeddings=embeddings, runtimes=runtimes))
