"""Processor time from a command's start to its end where there is little to do: what starting costs.

Several checkouts are compared in one run, in turn, each by the least of its rounds.

    python benchmarks/start_up.py --source OLD/src src --images FOLDER --rounds 3
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def commands(images: Path, place: Path) -> dict[str, list[str]]:
    """The commands by name, on the first images of a folder."""
    first, second = sorted(images.rglob("*.jpg"))[:2]
    few = place / "few"
    few.mkdir()
    for image in sorted(images.rglob("*.jpg"))[:8]:
        (few / image.name).write_bytes(image.read_bytes())
    new = str(place / "new-{}")
    return {
        "--help": ["--help"],
        "compare, two images": ["compare", str(first), str(second)],
        "embed, 8 images": ["embed", str(few), "--out", new],
        "search among 8 images": ["search", str(first), "--in", str(few), "--out", new, "--cache", new],
        "gallery create": ["gallery", "create", new, "--model", "starter"],
        "gallery search": ["gallery", "search", str(place / "gallery"), str(first)],
        "train, two steps": [
            *["train", str(place / "people"), "--init", "none", "--epochs", "1", "--steps_per_epoch", "2"],
            *["--evaluate_every", "-1", "--device", "cpu", "--out", new],
        ],
    }


def spend(source: str, words: list[str], number: int) -> float:
    """Run a command of a checkout and return the processor time it took, in seconds."""
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "rewho", *(word.format(number) for word in words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure all commands and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", nargs="+", default=["src"], help="folders with the package, first the earlier")
    parser.add_argument("--images", type=Path, required=True, help="a folder with at least eight images")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from rewho.rendered import write_people

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_people(place / "people", identities=8, test_identities=2, cameras=2, images_per_camera=4)
        words = commands(options.images, place)
        gallery = ["gallery", "add", str(place / "gallery"), str(place / "few")]
        terms = ("name", "source", "licence", "purpose", "legal_basis", "contact", "retention")
        create = ["gallery", "create", str(place / "gallery"), "--model", "starter"]
        spend(options.source[-1], create + [part for term in terms for part in (f"--terms.{term}", "rendered")], 0)
        spend(options.source[-1], gallery, 0)
        number = 0
        for title, command in words.items():
            taken: dict[str, float] = {}
            for _ in range(options.rounds):
                for source in options.source:
                    number += 1
                    taken[source] = min(taken.get(source, 1e9), spend(source, command, number))
            first, last = taken[options.source[0]], taken[options.source[-1]]
            print(f"{title:24}", *(f"{one:6.2f} s" for one in taken.values()), f"{first / last:5.2f} times", flush=True)


if __name__ == "__main__":
    main()
