"""The wheel, installed into an empty environment, does what a first user types; `uv` needs its cache or a network."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str, folder: Path) -> str:
    # An environment that is active, or the checkout on the path, would be used instead of what was installed.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds and installs the wheel, and is not here")
def test_the_wheel_serves_a_first_user_without_the_checkout(tmp_path: Path) -> None:
    run("uv", "build", "--wheel", "--quiet", "--out-dir", str(tmp_path), str(ROOT), folder=tmp_path)
    (wheel,) = tmp_path.glob("rewho-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"rewho/cli.py", "rewho/recipes/fd/s-fast.yaml", "rewho/py.typed"} <= set(names)
    assert not [name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png", ".mp4"))]

    environment = tmp_path / "environment"
    run("uv", "venv", "--quiet", "--python", sys.executable, str(environment), folder=tmp_path)
    python = str(environment / "bin" / "python")
    run("uv", "pip", "install", "--quiet", "--python", python, str(wheel), folder=tmp_path)
    rewho = str(environment / "bin" / "rewho")
    assert "train" in run(rewho, "--help", folder=tmp_path)
    assert "squeezenet" in run(rewho, "train", "--recipe", "fd/s-fast", "--print_config", folder=tmp_path)
    write = (
        "from rewho.rendered import write_people; write_people('people', identities=6, test_identities=4, workers=0)"
    )
    run(python, "-c", write, folder=tmp_path)
    fast = "--epochs 1 --model.backbone test_resnet --model.pretrained none --model.input_size 64 32"
    run(rewho, "train", "--data.root", "people", "--out", "model", *fast.split(), folder=tmp_path)
    run(rewho, "evaluate", "--model", "model", "--data", "people", "--out", "report", folder=tmp_path)
    assert (tmp_path / "report" / "index.html").is_file()
