"""Make the model `starter` from nothing: render people, train on them, measure on photographs, write its folder.

No photograph of a person enters the training; those of `--market` and `--cuhk` are ranked and nothing else. Finished
steps are skipped, and an interrupted training resumes: run it again after a stop.

    python recipes/starter/make.py --out runs/starter --market market1501 --cuhk cuhk03-np/detected
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from rewho.core.artifact import MANIFEST, hash_file, write_file, write_json
from rewho.core.progress import Progress, say
from rewho.core.shipped import CARD, TENSORS
from rewho.data.datasets import read_settings
from rewho.data.scored_part import scored_part
from rewho.data.table import ImageTable
from rewho.embedding.embedder import Embedder, load
from rewho.models.weights import SUMS, read_card
from rewho.rank.camera_norm import normalise_cameras
from rewho.rank.labels import ImageLabels
from rewho.rank.metrics import evaluate
from rewho.rank.ranking import Ranking
from rewho.rendered import write_people
from rewho.rendered.people import RENDERER
from rewho.settings import DataSettings, TrainSettings
from rewho.settings.command_line import parse
from rewho.stages import train

PEOPLE: dict[str, Any] = {
    "identities": 9060,
    "test_identities": 0,
    "cameras": 40,
    "cameras_of_person": 5,
    "images_per_camera": 2,
    "distractors": 0,
    "junk": 0,
    "seed": 1,
}
LARGE = (
    *("--epochs", "4", "--optimizer.flat_epochs", "3.8"),
    *("--model.input_size", "192", "96", "--augment.crop_padding", "9"),
)
HELD_OUT = 250  # people of Market-1501's training part, drawn with the default seed
TERMS = (
    "Apache-2.0, as rewho itself. It began from SqueezeNet 1.0's ImageNet weights, which their authors publish under a "
    "BSD licence (github.com/forresti/SqueezeNet). ImageNet's photographs, some with people in them, are for research"
)


def make_people(out: Path, workers: int) -> Path:
    """Render the people to train on and return their folder."""
    bar = Progress("render people", 1, unit="images")

    def advance(done: int, total: int) -> None:
        bar.total = total
        bar.advance(done - bar.done)

    folder = write_people(out / "people", **PEOPLE, workers=workers, progress=advance)
    bar.close()
    for part in ("query", "bounding_box_test"):  # nobody is rendered for testing, and empty folders are no data set
        if (folder / part).is_dir() and not any((folder / part).iterdir()):
            (folder / part).rmdir()
    return folder


def make_model(out: Path, people: Path, weights: str) -> Path:
    """Train in two steps and return the model's folder: small images first, then larger ones at a constant rate.

    The second step goes on from the first one's last checkpoint, with its optimizer and classifier.
    """
    recipe = str(Path(__file__).with_name("starter.yaml"))
    common = ["--recipe", recipe, "--data.root", str(people)]
    small, large = out / "small", out / "large"
    _train([*common, "--out", str(small)], weights)
    if not large.exists():
        aside = large.with_name(".large")
        shutil.copytree(small, aside, dirs_exist_ok=True)
        for name in (MANIFEST, CARD, TENSORS, "classifier.safetensors"):
            (aside / name).unlink(missing_ok=True)
        aside.replace(large)
    return _train([*common, "--out", str(large), *LARGE, "--allow_config_change", "true"], weights)


def _train(words: list[str], weights: str) -> Path:
    settings = parse(TrainSettings, words)
    assert settings is not None, "no help was asked for"
    return train.run(replace(settings, model=replace(settings.model, pretrained=weights)))


def measure(model: Embedder, table: ImageTable) -> dict[str, float]:
    """Return Rank-1 and mAP as shares: plain, and with each camera's mean embedding subtracted."""
    part = scored_part(table)
    query, gallery = (model.embed([rows.file(row) for row in range(len(rows))]) for rows in (part.query, part.gallery))
    labels = [
        ImageLabels(rows.person_ids, rows.camera_ids, names)
        for rows, names in ((part.query, part.query_names), (part.gallery, part.gallery_names))
    ]
    ranking = Ranking.from_embeddings(query, labels[0], gallery, labels[1])
    plain, centred = evaluate(ranking), evaluate(normalise_cameras(ranking))
    return {
        "rank1": round(float(plain.cmc[0]), 4),
        "mAP": round(plain.values["mAP_rectangular"], 4),
        "rank1_camera_normalised": round(float(centred.cmc[0]), 4),
        "mAP_camera_normalised": round(centred.values["mAP_rectangular"], 4),
    }


def ship(run: Path, folder: Path, figures: dict[str, dict[str, float]], cost: str) -> None:
    """Write a trained model as a folder with its provenance, figures and terms.

    Kernels are in half precision; statistics of batch normalisation may exceed its range and stay as they are.
    """
    tensors = {name: value.half() if value.ndim > 1 else value for name, value in load_file(run / TENSORS).items()}
    content = save(tensors)
    card = read_card(run)
    before = card["provenance"]
    card |= {
        "trained_on": {
            "what": f"{PEOPLE['identities']:,} rendered people, and before that ImageNet",
            "renderer": RENDERER,
            "people": PEOPLE,
            **card["trained_on"],
            "name": "rendered people",
        },
        "licence": TERMS,
        "metrics": figures,
        "provenance": {
            "made_with": "python recipes/starter/make.py",
            "cost": cost,
            "began_from": "SqueezeNet 1.0, ImageNet (BSD)",
            **{name: before[name] for name in ("weights_sha256", "epochs", "seed", "labels") if name in before},
        },
        "classifier": "",
        SUMS: {TENSORS: hashlib.sha256(content).hexdigest()},
    }
    write_file(folder / TENSORS, lambda file: file.write(content))
    write_json(folder / CARD, card)
    say(f"{folder}: {len(content) / 1e6:.2f} MB, sha256 {hash_file(folder / TENSORS)[:16]}")


def main() -> None:
    """Make, measure and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/starter"))
    parser.add_argument("--weights", default="imagenet", help="imagenet, which is downloaded, none, or a file")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--market", type=Path, help="Market-1501, for measuring")
    parser.add_argument("--cuhk", type=Path, help="CUHK03-NP with detected boxes, for measuring")
    parser.add_argument("--ship", type=Path, help="where to write the folder; OUT/shipped by default")
    given = parser.parse_args()
    began = time.process_time()
    run = make_model(given.out, make_people(given.out, given.workers), given.weights)
    spent = time.process_time() - began
    figures = {}
    if given.market:
        table = read_settings(DataSettings(root=given.market, hold_out=HELD_OUT))
        figures[f"Market-1501, {HELD_OUT} people of its training part"] = measure(load(run), table)
    if given.cuhk:
        figures["CUHK03-NP, detected boxes"] = measure(load(run), read_settings(DataSettings(root=given.cuhk)))
    cost = f"{spent / 60:.0f} minutes of one CPU core, without rendering in other processes"
    ship(run, given.ship or given.out / "shipped", figures, cost)
    say(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
