"""The script of docs/guide/own-parts.md runs from outside the package, on rendered people."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rewho.rendered import write_people

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "own-parts.md"


def test_own_parts_work_from_a_script_of_the_user(tmp_path):
    people = write_people(
        tmp_path / "people", identities=8, test_identities=2, images_per_camera=2, distractors=0, junk=0, workers=0
    )
    (tmp_path / "images").mkdir()
    for number, path in enumerate(sorted((people / "bounding_box_train").iterdir())):
        person, camera = re.match(r"(\d+)_c(\d+)", path.name).groups()
        shutil.copy(path, tmp_path / "images" / f"gate{camera}-p{person}-{number}.jpg")
    script = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^MRR \d+\.\d %$", done.stdout, re.MULTILINE)
    assert json.loads((tmp_path / "runs/tiny/model.json").read_text())["architecture"]["backbone"] == "tiny"
    steps = [json.loads(line) for line in (tmp_path / "runs/spread/log.jsonl").read_text().splitlines()]
    assert all(0 <= line["spread"] <= 1 for line in steps if "learning_rate" in line)
    assert any("spread" in line for line in steps)
    assert "The first five ranks" in (tmp_path / "runs/report/index.html").read_text()
