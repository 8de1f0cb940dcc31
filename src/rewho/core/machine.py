"""What this machine and this installation can do, for `rewho doctor` and for bug reports.

Each library is imported in its own process, all at once and with a deadline. One that crashes, hangs or prints while it
is imported is reported in one line of the answer. No user name, host name or path is collected.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rewho.core.record import rewho_version

PATIENCE = 8.0
"""Seconds until a library that has not answered is given up."""
MARK = "rewho-answer:"  # begins the line with the answer, because libraries print on import too
GIVES = {
    "video": "decodes videos: `rewho crop`",
    "detect": "ONNX and transformers detectors and keypoints in `rewho crop`; ONNX teachers",
    "export": "`rewho export --format onnx`",
    "gallery": "a gallery of people to search, with a web service",
    "scale": "Ray, for crops and embeddings on many machines; Milvus, for galleries larger than memory",
}
"""What each extra of the package adds."""
PACKAGES = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "opencv-python-headless", "pyarrow")
OTHER_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
VIDEO_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
IMAGE_KINDS = (".jpg", ".png", ".webp", ".bmp")
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE"),
)
"""Environment variables that change speed or results and hold no names of people or folders."""
LITTLE_DISK, LITTLE_SHARED = 5e9, 1e9  # bytes


def _probe_torch() -> dict[str, Any]:
    import torch

    there = torch.cuda.is_available()
    properties = [
        torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count() if there else 0)
    ]
    return {
        "version": torch.__version__,
        "built_for_cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "cuda_devices": [
            {"name": one.name, "memory_gb": round(one.total_memory / 1e9, 1), "capability": f"{one.major}.{one.minor}"}
            for one in properties
        ],
        "bf16": bool(there and torch.cuda.is_bf16_supported()),
    }


def _probe_opencv() -> dict[str, Any]:
    import cv2
    import numpy as np

    image = np.full((8, 8, 3), 127, np.uint8)
    works = {}
    for kind in IMAGE_KINDS:
        done, data = cv2.imencode(kind, image)
        works[kind] = bool(done) and cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    return {"version": cv2.__version__, "images": works, "hog_detector": hasattr(cv2, "HOGDescriptor")}


def _probe_pyav() -> dict[str, Any]:
    import av

    decoders = {name for name in VIDEO_CODECS if name in av.codecs_available}
    return {"version": av.__version__, "decodes": sorted(decoders), "lacks": sorted({*VIDEO_CODECS} - decoders)}


def _probe_onnxruntime() -> dict[str, Any]:
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


LIBRARIES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "torch": ("torch", _probe_torch),
    "opencv": ("cv2", _probe_opencv),
    "pyav": ("av", _probe_pyav),
    "onnxruntime": ("onnxruntime", _probe_onnxruntime),
}
"""By library: the module to import, and the function that describes it."""


def answer(library: str) -> None:
    """Print one library's answer on standard output; `probe_libraries` runs this in its own process."""
    module, question = LIBRARIES[library]
    try:
        found = question()
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # the last line of its traceback is the answer
        found = {"missing": True}
    print(f"{MARK}{json.dumps(found)}", flush=True)  # noqa: T201 - the answer


def probe_libraries(patience: float = PATIENCE) -> dict[str, dict[str, Any]]:
    """Return the version and abilities of each of `LIBRARIES`, or `missing`, `late` or an `error`.

    Args:
        patience: Seconds until one that has not answered is given up.
    """
    code = "import sys; from rewho.core.machine import answer; answer(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = {
        name: subprocess.Popen(  # noqa: S603 - this interpreter, with a program of ours
            [sys.executable, "-c", code, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for name in LIBRARIES
    }
    end = time.monotonic() + patience
    return {name: _read_answer(process, end, patience) for name, process in processes.items()}


def _read_answer(process: subprocess.Popen[bytes], end: float, patience: float) -> dict[str, Any]:
    try:
        output, errors = process.communicate(timeout=max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"late": f"no answer within {patience:g} s"}
    lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith(MARK)]
    if not lines:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        return {"error": last[0][:300] if last else f"its import ended the process, exit code {process.returncode}"}
    described: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return described


def find_version(package: str) -> str | None:
    """Return the version of an installed package; None without.

    Example:
        >>> find_version("no-such-package") is None
        True
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def list_extras() -> dict[str, dict[str, Any]]:
    """Return for each extra of the package what it gives and which of its packages are missing or too old."""
    extras: dict[str, dict[str, Any]] = {name: {"gives": gives, "missing": []} for name, gives in GIVES.items()}
    for line in _requirements():
        found = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if found and found[1] in extras and not _fulfilled(line):
            extras[found[1]]["missing"].append(re.match(r"[\w.-]+", line)[0])  # type: ignore[index] # it begins with a name
    return extras


def _requirements() -> list[str]:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.requires("rewho") or []
    return []


def _fulfilled(line: str) -> bool:
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    version = find_version(wanted.name)
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def describe_places() -> dict[str, dict[str, Any]]:
    """Return free disk space and permission to write of the folders that commands use; the folders are not named."""
    home = Path.home()
    places = {
        "working folder": Path.cwd(),
        "temporary folder": Path(tempfile.gettempdir()),
        "cache of torch": Path(os.environ.get("TORCH_HOME") or home / ".cache" / "torch"),
        "cache of Hugging Face": Path(os.environ.get("HF_HOME") or home / ".cache" / "huggingface"),
    }
    if Path("/dev/shm").is_dir():  # noqa: S108 - where torch's workers share their batches
        places["shared memory"] = Path("/dev/shm")  # noqa: S108
    return {name: _describe_place(path) for name, path in places.items()}


def _describe_place(path: Path) -> dict[str, Any]:
    while not path.exists() and path != path.parent:  # a cache that is not there yet is made in the folder above
        path = path.parent
    try:
        with tempfile.NamedTemporaryFile(dir=path):
            writable = True
    except OSError:
        writable = False
    return {"writable": writable, "free_gb": round(shutil.disk_usage(path).free / 1e9, 1)}


def describe_limits() -> dict[str, Any]:
    """Return usable processors, memory in gigabytes and the limit on open files; None where it is not known."""
    facts: dict[str, Any] = {"processors": os.cpu_count(), "memory_gb": None, "open_files": None}
    if hasattr(os, "sched_getaffinity"):
        facts["processors"] = len(os.sched_getaffinity(0))
    with contextlib.suppress(ValueError, OSError, AttributeError):
        facts["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    with contextlib.suppress(OSError, ValueError):
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if allowed.isdigit():
            facts["memory_gb"] = min(facts["memory_gb"] or 1e6, round(int(allowed) / 1e9, 1))
    with contextlib.suppress(ImportError):
        import resource

        facts["open_files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return facts


def describe_machine(patience: float = PATIENCE) -> dict[str, Any]:
    """Return everything that `rewho doctor` shows, as plain values.

    Args:
        patience: Seconds until a library that has not answered is given up.
    """
    packages = {name: find_version(name) for name in PACKAGES}
    return {
        "rewho": rewho_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": packages,
        "other_opencv": [name for name in OTHER_OPENCV if find_version(name)],
        "torch_of_torchvision": _torch_of_torchvision(),
        "extras": list_extras(),
        "limits": describe_limits(),
        "places": describe_places(),
        "compiled": _is_compiled("torch"),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "libraries": probe_libraries(patience),
    }


def _torch_of_torchvision() -> str | None:
    """Return the version of torch that the installed torchvision is made for."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        lines = metadata.requires("torchvision") or []
        return next((found[1] for line in lines if (found := re.match(r"torch\s*\(?==\s*([\w.]+)", line))), None)
    return None


def _is_compiled(package: str) -> bool:
    """Return whether Python keeps the compiled code of a package; without it every start compiles it anew."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    return Path(importlib.util.cache_from_source(spec.origin)).is_file()


def find_problems(facts: Mapping[str, Any]) -> list[str]:
    """Return one sentence, with its fix, on each of `describe_machine`'s facts that keeps commands from working."""
    libraries, packages = facts["libraries"], facts["packages"]
    found = [f"{name} is not installed: install rewho again." for name, version in packages.items() if version is None]
    found += [
        f"{name} cannot be imported ({one['error']}): install it again."
        for name, one in libraries.items()
        if "error" in one
    ]
    late = [name for name, one in libraries.items() if "late" in one]
    if late:
        found.append(f"{', '.join(late)}: no answer in time. Run this again when the machine is less busy.")
    for name, one in libraries.items():
        if one.get("missing") and name in ("torch", "opencv") and packages.get(name):
            found.append(f"{name} is installed but its module is missing: install it again.")
    if facts["other_opencv"]:
        others = ", ".join(facts["other_opencv"])
        found.append(f"two OpenCV packages overwrite each other ({others}): uninstall all, install rewho again.")
    made_for, version = facts["torch_of_torchvision"], packages["torch"]
    if made_for and version and version.partition("+")[0] != made_for:
        found.append(f"torchvision is made for torch {made_for}, not {version}: install both again together.")
    torch = libraries["torch"]
    if torch.get("built_for_cuda") is None and "version" in torch:
        found.append("this torch is built without CUDA: fine on a processor; a GPU needs torch's CUDA build.")
    if facts["variables"].get("PYTHONDONTWRITEBYTECODE") and not facts["compiled"]:
        found.append(
            "PYTHONDONTWRITEBYTECODE is set, and the installed packages are not compiled: every command compiles "
            "them again. Unset it, or compile them once: `uv sync --compile-bytecode`, `python -m compileall`."
        )
    kinds = [kind for kind, works in libraries["opencv"].get("images", {}).items() if not works]
    if kinds:
        found.append(f"OpenCV cannot read or write {', '.join(kinds)}: install opencv-python-headless again.")
    if "h264" in libraries["pyav"].get("lacks", []):
        found.append("PyAV decodes no H.264: install its wheel (`pip install av`) instead of a build of your own.")
    for name, place in facts["places"].items():
        if not place["writable"]:
            found.append(f"{name}: no permission to write. Choose another folder, or change its permissions.")
        elif place["free_gb"] * 1e9 < (LITTLE_SHARED if name == "shared memory" else LITTLE_DISK):
            fix = "pass --data.workers 0" if name == "shared memory" else "free some space"
            found.append(f"{name}: only {place['free_gb']:g} GB free; {fix}.")
    return found
