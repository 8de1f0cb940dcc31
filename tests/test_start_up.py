"""What a command imports: using a model needs no training library, and answering without one needs no torch."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import write_people
from rewho.settings import ModelSettings

BLOCKED = """
import json, sys
for name in ("lightning", "lightning_fabric", "pytorch_lightning", "tensorboard", "torchvision", "timm", "sympy"):
    sys.modules[name] = None  # importing it is an error
from rewho.cli import main
codes = {words[0]: main(words) for words in json.loads(sys.argv[1])}
print(json.dumps(codes))
"""
IMPORTED = """
import sys
import rewho
from rewho.cli import main
for words in (["--help"], ["train", "--help"], ["--version"], ["trian"]):
    main(words)
print([name for name in ("torch", "numpy", "cv2", "lightning_fabric") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, a data set of rendered people, and two images."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(1)
    model = SingleViewModel(ModelSettings(embedding=8, input_size=(64, 32), pretrained="none"), (64, 32))
    save_model(folder / "model", model, ModelCard())
    write_people(folder / "people", identities=2, test_identities=2, cameras=2, images_per_camera=1, workers=0)
    for name in ("a", "b"):
        image = np.random.default_rng(len(name)).integers(0, 255, (64, 32, 3), np.uint8)
        (folder / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def test_using_a_model_imports_no_training_library(place):
    model = ["--model", str(place / "model")]
    query = str(place / "people" / "query")
    commands = [
        ["embed", query, *model, "--out", str(place / "embedded")],
        ["compare", str(place / "a.png"), str(place / "b.png"), *model],
        ["evaluate", *model, "--data", str(place / "people"), "--out", str(place / "scored"), "--sheets", "0"],
        ["search", str(place / "a.png"), "--in", query, *model, "--out", str(place / "found"), "--cache", str(place)],
    ]
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(commands)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert set(json.loads(ran.stdout.splitlines()[-1]).values()) == {0}, ran.stderr[-2000:]


def test_a_package_that_is_not_installed_is_named(place):
    words = ["compare", str(place / "a.png"), str(place / "b.png"), "--model", str(place / "model")]
    code = "import sys; sys.modules['torch'] = None; from rewho.cli import main; sys.exit(main(sys.argv[1:]))"
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
    assert "error: Python package torch: expected it to be installed" in ran.stderr


def test_help_and_the_package_import_no_torch():
    ran = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_package_lets_waiting_threads_sleep_unless_told_otherwise(given, expected):
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = "import os, rewho; print(os.environ['OMP_WAIT_POLICY'])"
    words = [sys.executable, "-c", code]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, env=inherited | given)
    assert ran.stdout.strip() == expected


ENDING = """
import atexit, os, signal, sys
sys.argv = ["rewho", "--version"]
from rewho.cli import main
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.exit(main())
"""


def test_ctrl_c_while_the_program_ends_changes_nothing():
    """Python takes a second or more to end behind the last message, when many press it once more."""
    done = subprocess.run([sys.executable, "-c", ENDING], timeout=300, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
