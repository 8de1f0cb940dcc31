"""Print what this installation can do, and what keeps it from working."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rewho.core.machine import describe_machine, find_problems
from rewho.settings.answers import DoctorSettings
from rewho.settings.fields import check

WIDTH = 22  # of the first column


def run(settings: DoctorSettings) -> str:
    """Return the answer as text, or as JSON; it takes at most ten seconds."""
    check(settings)
    facts = describe_machine()
    problems = find_problems(facts)
    if settings.json:
        return json.dumps({**facts, "problems": problems}, indent=1, ensure_ascii=False)
    return "\n".join([*_lines(facts), "", *_describe_problems(problems)])


def _describe_problems(problems: list[str]) -> list[str]:
    return ["problems:", *(f"  - {problem}" for problem in problems)] if problems else ["problems: none found"]


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    limits, libraries = facts["limits"], facts["libraries"]
    yield _row("rewho", facts["rewho"])
    yield _row("Python", f"{facts['python']} on {facts['system']}")
    memory = f"{limits['memory_gb']:g} GB of memory" if limits["memory_gb"] else "memory unknown"
    yield _row("machine", f"{limits['processors']} processors, {memory}, {limits['open_files']} open files")
    yield _row("GPU", _describe_gpus(libraries["torch"]))
    yield _row("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in facts["packages"].items()))
    yield _row("images", _describe_images(libraries["opencv"]))
    yield _row("video", _describe_video(libraries["pyav"]))
    yield _row("ONNX", _describe_onnx(libraries["onnxruntime"]))
    for name, extra in facts["extras"].items():
        missing = f"missing {', '.join(extra['missing'])}" if extra["missing"] else "installed"
        yield _row(f"[{name}]", f"{missing}; gives {extra['gives']}")
    for name, place in facts["places"].items():
        writable = "writable" if place["writable"] else "NOT writable"
        yield _row(name, f"{writable}, {place['free_gb']:,g} GB free")
    for name, value in facts["variables"].items():
        yield _row(name, value)


def _row(name: str, value: object) -> str:
    return f"{name:{WIDTH}}  {value}"


def _reason(library: Mapping[str, Any]) -> str:
    """Return why there is no description of a library."""
    return str(library.get("error") or library.get("late") or "is not installed")


def _describe_gpus(torch: Mapping[str, Any]) -> str:
    if "version" not in torch:
        return f"unknown: torch {_reason(torch)}"
    built = f"torch is built for CUDA {torch['built_for_cuda']}" if torch["built_for_cuda"] else "torch has no CUDA"
    devices = [
        f"{one['name']}, {one['memory_gb']:g} GB, compute capability {one['capability']}"
        for one in torch["cuda_devices"]
    ]
    return f"{'; '.join(devices) or 'none'} ({built}{', bf16' if torch['bf16'] else ''})"


def _describe_images(opencv: Mapping[str, Any]) -> str:
    if "images" not in opencv:
        return f"OpenCV {_reason(opencv)}"
    works = [kind.lstrip(".") for kind, fine in opencv["images"].items() if fine]
    detector = "with" if opencv["hog_detector"] else "without"
    return f"OpenCV {opencv['version']} reads {', '.join(works)}; {detector} the HOG detector"


def _describe_video(pyav: Mapping[str, Any]) -> str:
    if "decodes" not in pyav:
        return f"PyAV {_reason(pyav)}"
    lacks = f"; not {', '.join(pyav['lacks'])}" if pyav["lacks"] else ""
    return f"PyAV {pyav['version']} decodes {', '.join(pyav['decodes'])}{lacks}"


def _describe_onnx(onnxruntime: Mapping[str, Any]) -> str:
    if "providers" not in onnxruntime:
        return f"onnxruntime {_reason(onnxruntime)}"
    return f"onnxruntime {onnxruntime['version']}: {', '.join(onnxruntime['providers'])}"
