"""Records of runs: what was run, with what, and what it wrote; sealed against later changes."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rewho.core.artifact import MANIFEST, digest, hash_file, json_bytes, plain
from rewho.core.check import UserError, describe_error, resolve_inside
from rewho.core.files import parse_json, read_json

REQUIRED = {"stage": str, "settings": dict, "inputs": dict}  # fields of every record of a run, with their types
STARTED = "run.json"
CHANGED = "run-changed.json"  # the next run.json of a run resumed with changed settings, until a checkpoint fits them
KEPT = "run-files.json"  # finished files of an unfinished run, with hashes; in the end part of the manifest
CONTINUED = "continued"  # in the record of a run: how it was continued after it had been finished
SEAL = "seal"  # of a record: the digest of everything else in it


def rewho_version() -> str:
    """Return the version of the installed package, or "unknown" for a bare source tree."""
    try:
        return version("rewho")
    except PackageNotFoundError:
        return "unknown"


def read_versions() -> dict[str, str]:
    """Return the versions of everything that a bit-identical repetition depends on."""
    packages = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "opencv-python-headless")
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its seal, which reveals any later change."""
    return {**record, SEAL: digest(record)}


def unseal(record: object) -> dict[str, Any]:
    """Return a sealed record without its seal."""
    if not isinstance(record, dict) or SEAL not in record:
        raise ValueError("has no seal")
    content = {name: value for name, value in record.items() if name != SEAL}
    if record[SEAL] != digest(content):
        raise ValueError("does not match its own seal")
    return content


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the content of a sealed JSON file; raise ValueError if any byte was changed."""
    data = path.read_bytes()
    content = parse_json(data)
    if json_bytes(content) != data:
        raise ValueError("does not match its own seal")
    return unseal(content)


EPOCH = "length of an epoch"
"""Name of the input of a training that says it, such as `400 steps`."""


def total_steps(record: Mapping[str, Any]) -> int | None:
    """Return the steps of a whole training by its record; None for another record.

    Example:
        >>> total_steps({"settings": {"epochs": 3}, "inputs": {"length of an epoch": "400 steps"}})
        1200
    """
    epochs, length = record.get("settings", {}).get("epochs"), record.get("inputs", {}).get(EPOCH)
    found = re.fullmatch(r"(\d+) steps?", length) if isinstance(length, str) else None
    return epochs * int(found[1]) if found and isinstance(epochs, int) else None


def read_record(path: Path, **required: type) -> dict[str, Any]:
    """Return the content of a `run.json` or `manifest.json`, without its seal if it has one."""
    expected, fix = "the record that a run wrote", "Restore it from a copy, or choose another --out."
    try:
        record = read_json(path, "", fix, **required)
        if not isinstance(record.get("settings", {}), dict):
            raise ValueError("no record of a run")
        return unseal(record) if SEAL in record else record
    except ValueError as error:  # which a UserError is too
        got = error.got if isinstance(error, UserError) else f"one that {error}"
        what = error.what if isinstance(error, UserError) else str(path)
        raise UserError(what, expected=expected, got=got, fix=fix) from error


def find_damage(folder: Path) -> str | None:
    """Compare every byte of a folder's files with its manifest; return the first difference, or None."""
    try:
        recorded = read_record(folder / MANIFEST)["files"]
        for name, entry in recorded.items():
            file, size, sha256 = resolve_inside(folder, name, MANIFEST), int(entry["bytes"]), entry["sha256"]
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
            if hash_file(file) != sha256:
                return f"{name} does not match its sha256"
    except UserError as error:
        return f"{error.what}: expected {error.expected}, got {error.got}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{MANIFEST} is damaged ({describe_error(error)})"
    return None


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - nested settings
    """Return nested dictionaries as one with dotted names.

    Example:
        >>> flatten({"model": {"view": "up1"}, "seed": 1})
        {'model.view': 'up1', 'seed': 1}
    """
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: item
        for key, inner in value.items()
        for name, item in flatten(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any], ignore: Iterable[str] = ()) -> list[str]:
    """Return one line for each dotted name whose value differs, without names under an ignored prefix.

    Example:
        >>> list_differences({"seed": 1, "out": "a"}, {"seed": 2, "out": "b"}, ignore=["out"])
        ['seed: 1 -> 2']
    """
    old, new = flatten(plain(before)), flatten(plain(now))
    skip = tuple(ignore)
    return [
        f"{name}: {_show(old.get(name))} -> {_show(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not any(name == key or name.startswith(f"{key}.") for key in skip)
    ]


def _show(value: object) -> str:
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return repr(f"{value[:12]}…")
    return repr(value)
