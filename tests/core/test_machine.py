"""What `rewho doctor` says, also where libraries are missing, broken or hang."""

import getpass
import json
import socket
from pathlib import Path

import pytest

from rewho.core import machine
from rewho.core.machine import describe_machine, find_problems, list_extras
from rewho.settings.answers import DoctorSettings
from rewho.stages import doctor


@pytest.fixture
def quick(monkeypatch):
    """Ask libraries whose questions are a moment's work."""
    monkeypatch.setattr(machine, "LIBRARIES", {name: machine.LIBRARIES[name] for name in ("opencv", "pyav")})


@pytest.fixture
def facts():
    working = {"writable": True, "free_gb": 100.0}
    return {
        "rewho": "1",
        "python": "3.12",
        "system": "Linux",
        "packages": {"torch": "2.11.0+cu128", "numpy": "2.1"},
        "other_opencv": [],
        "torch_of_torchvision": "2.11.0",
        "extras": {"video": {"gives": "videos", "missing": ["av"]}},
        "limits": {"processors": 2, "memory_gb": None, "open_files": 1024},
        "places": {"working folder": working},
        "compiled": False,
        "variables": {"OMP_NUM_THREADS": "1"},
        "libraries": {
            "torch": {"version": "2.11", "built_for_cuda": "12.8", "threads": 2, "cuda_devices": [], "bf16": False},
            "opencv": {"version": "4", "images": {".jpg": True}, "hog_detector": True},
            "pyav": {"missing": True},
            "onnxruntime": {"missing": True},
        },
    }


def test_a_sound_installation_has_no_problem_and_every_line(facts, monkeypatch):
    assert find_problems(facts) == []
    monkeypatch.setattr(doctor, "describe_machine", lambda: facts)
    said = doctor.run(DoctorSettings())
    assert "problems: none found" in said
    assert "missing av; gives videos" in said and "onnxruntime is not installed" in said and "CUDA 12.8" in said
    assert json.loads(doctor.run(DoctorSettings(json=True))) == {**facts, "problems": []}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda facts: facts["packages"].update(numpy=None), "numpy is not installed"),
        (lambda facts: facts["libraries"].update(torch={"error": "no libcuda"}), "torch cannot be imported"),
        (lambda facts: facts["libraries"].update(torch={"late": "no answer"}), "torch: no answer in time"),
        (lambda facts: facts["libraries"].update(torch={"missing": True}), "its module is missing"),
        (lambda facts: facts.update(other_opencv=["opencv-python"]), "overwrite each other"),
        (lambda facts: facts.update(torch_of_torchvision="2.10.0"), "made for torch 2.10.0, not 2.11.0"),
        (lambda facts: facts["places"].update({"temporary folder": {"writable": False, "free_gb": 9}}), "permission"),
        (
            lambda facts: facts["places"].update({"shared memory": {"writable": True, "free_gb": 0.06}}),
            "--data.workers 0",
        ),
        (lambda facts: facts["libraries"]["opencv"]["images"].update({".webp": False}), "read or write .webp"),
        (lambda facts: facts["libraries"].update(pyav={"lacks": ["h264"]}), "no H.264"),
        (lambda facts: facts["variables"].update(PYTHONDONTWRITEBYTECODE="1"), "every command compiles them again"),
    ],
)
def test_each_problem_is_found(facts, change, problem):
    change(facts)
    (found,) = find_problems(facts)
    assert problem in found


@pytest.mark.usefixtures("quick")
def test_what_is_here_is_described_without_names_of_people_or_folders():
    described = describe_machine(patience=60)
    text = json.dumps(described)
    assert described["libraries"]["opencv"]["images"] == {".jpg": True, ".png": True, ".webp": True, ".bmp": True}
    assert described["places"]["working folder"]["free_gb"] > 0
    assert str(Path.home()) not in text and str(Path.cwd()) not in text and socket.gethostname() not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


def test_a_library_that_hangs_or_crashes_is_a_line_of_the_answer(monkeypatch, tmp_path):
    (tmp_path / "av.py").write_text("import time; print('noise'); time.sleep(60)")
    (tmp_path / "onnxruntime.py").write_text("import os; os._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(machine, "LIBRARIES", {name: machine.LIBRARIES[name] for name in ("pyav", "onnxruntime")})
    found = machine.probe_libraries(patience=3)
    assert "no answer" in found["pyav"]["late"]
    assert "exit code 3" in found["onnxruntime"].get("error", "") or "late" in found["onnxruntime"]


def test_an_extra_lists_what_it_lacks(monkeypatch):
    lines = ["av<20,>=18.1; extra == 'video'", "nowhere-to-be-found>=1; extra == 'gallery'", "numpy"]
    monkeypatch.setattr(machine, "_requirements", lambda: lines)
    assert list_extras()["gallery"]["missing"] == ["nowhere-to-be-found"]
    assert list_extras()["export"]["missing"] == []
