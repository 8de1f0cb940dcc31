"""Tensors from untrusted files: no code in them runs, and reading costs no more than the file's size warrants.

A pickle of a kilobyte can hold nested tuples that take years to hash, and the header of a safetensors file a million
names. Both are counted before anything is built.
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rewho.core.artifact import verify_hash
from rewho.core.check import UserError
from rewho.core.files import check_regular, parse_json
from rewho.core.progress import say

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 4 * 2**20
"""Largest safetensors header in bytes; a network of 1,000 tensors needs 1/40 of it."""
MOST_STEPS = 400_000
"""Most opcodes of a pickle; a tensor takes about 30."""
LARGEST_VALUE = 10_000_000
"""Most parts of a value in a pickle, shared parts counted each time."""
LEGACY = 4
"""Number of pickles at the start of files of torch before 1.6: magic number, protocol, system, content."""
FIX = "Ask for a .safetensors file, or for a file that holds nothing but named tensors."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a .safetensors file, or of a file of `torch.save`; nothing in it runs.

    Every byte is verified where model.json or manifest.json beside the file holds its hash.
    """
    if not path.is_file():
        expected = "a .safetensors or .pth file, or a model folder of ours"
        fix = "Check the path, of --model.pretrained or in the recipe."
        raise UserError("weights file", expected=expected, got=f"nothing at {path}", fix=fix)
    check_regular(path, what=f"weights file {path}", expected="named tensors")
    if not verify_hash(path, "model.json", "manifest.json") and path.with_name("model.json").is_file():
        say(f"warning: {path.with_name('model.json')} holds no hash of {path.name}, which cannot be checked for damage")
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


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file, from its header."""
    size = check_regular(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(HEADER_LIMIT, size - 8):
                raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
            header = parse_json(file.read(length).decode())
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
        if not all(
            type(side) is int and side >= 0 and math.prod(shape) <= size for shape in shapes.values() for side in shape
        ):
            raise ValueError("shapes that do not fit into the file")
        return shapes
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensor_shapes(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def read_torch(path: Path) -> Any:  # noqa: ANN401 - tensors, numbers, text, and lists and mappings of them
    """Return the content of a file of `torch.save`: tensors, numbers and text only."""
    import torch

    check_regular(path)
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                _check_archive(path)
            else:
                file.seek(0)
                for _ in range(LEGACY):
                    _check_pickle(file)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # torch raises many types for damaged files; all mean the same to a user
        if type(error).__name__ == "UnpicklingError":
            named = re.search(r"GLOBAL ([\w.]+)", str(error))
            got = f"{named[1]}, which is none of these" if named else "something else"
            numpy = "numpy scalars or arrays beside them: " if named and named[1].startswith("numpy") else ""
            raise _damaged(path, numpy + got, f"Where it was made, save its weights alone. {FIX}") from error
        words = re.sub(r"[^ -~]|weights_only\S*", "", str(error).partition("\n")[0])[:120]
        raise _damaged(path, f"{type(error).__name__}: {words}", FIX) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.errno is not None:
        got = error.strerror or type(error).__name__
        return UserError(f"weights file {path}", expected="a readable file", got=got, fix="Check its permissions.")
    return _damaged(path, f"{type(error).__name__}: {error}", "Copy it again; the file is damaged.")


def _damaged(path: Path, got: str, fix: str) -> UserError:
    expected = "a file of tensors, numbers and text, whole and with nothing else in it"
    return UserError(f"weights file {path}", expected=expected, got=got, fix=fix)


def _check_archive(path: Path) -> None:
    """Check that an archive unpacks to no more than its size, and its pickles; raises ValueError."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed entries, which torch does not write")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("entries that are larger than the file")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    _check_pickle(file)


def _check_pickle(file: IO[bytes]) -> None:
    """Check the size of a pickle, shared parts counted each time, without running it; raises ValueError."""
    stack: list[int | None] = []  # number of parts of each value; None is a mark
    memo: dict[int, int] = {}
    for steps, (step, argument, _) in enumerate(pickletools.genops(file)):
        if steps > MOST_STEPS:
            raise ValueError(f"a pickle of more than {MOST_STEPS:,} instructions")
        if step.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if step.name == "MEMOIZE" else int(str(argument))] = stack[-1] or 1
            continue
        if step.name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(argument))])
            continue
        parts, before = 1, list(step.stack_before)
        if pickletools.stackslice in before or step.name == "POP_MARK":
            while stack and (top := stack.pop()) is not None:
                parts += top
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            parts += stack.pop() or 0
        if parts > LARGEST_VALUE:
            raise ValueError("a pickle whose values share parts to multiply without end")
        stack += [None if kind is pickletools.markobject else parts for kind in step.stack_after]


def named_tensors(content: object, depth: int = 0) -> dict[str, Tensor]:
    """Return every tensor of nested mappings by dotted name, without levels of one entry.

    The states of optimizers, schedulers and scalers are skipped.

    Example:
        >>> import torch
        >>> list(named_tensors({"epoch": 3, "net": {"a.weight": torch.ones(1)}, "optimizer": {"b": torch.ones(1)}}))
        ['a.weight']
    """
    from torch import Tensor

    if not isinstance(content, Mapping) or depth > 4:
        return {}
    own = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    below = {
        name: named_tensors(value, depth + 1)
        for name, value in content.items()
        if not re.match(r"optim|.*scheduler|.*scaler", str(name))
    }
    below = {name: tensors for name, tensors in below.items() if tensors}
    if not own and len(below) == 1:
        return next(iter(below.values()))
    return own | {f"{part}.{name}": value for part, tensors in below.items() for name, value in tensors.items()}
