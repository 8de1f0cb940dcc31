"""What pre-training gains from tracks: `--contrast.positives track` beside single images, at equal steps, over seeds.

Streets: four rendered videos, cropped with tracks at two frames per second; single images from the same crops, with
`--sparse` also from one frame in five seconds as in `rewho demo`; the encoders alone, and after the demo's training on
few labels, scored on held-out people.
Market-1501's training part (`--market`): pre-trained on the images of 501 people, scored by nearest neighbours on the
250 held out; that is not the benchmark. The networks and augmentations are those of `rewho demo --chapter few-labels`.

    python benchmarks/track_positives.py --out runs/tracks --seeds 1 2 3 --steps 6000
    python benchmarks/track_positives.py --out runs/tracks --seeds 1 2 3 --steps 1200 --market Market-1501
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rewho.data.datasets import read
from rewho.rendered import write_street
from rewho.settings import (
    CropSettings,
    DemoSettings,
    EvaluateSettings,
    PretrainSettings,
    SamplingSettings,
    TrackingSettings,
)
from rewho.settings.use import EvaluateDataSettings
from rewho.stages import crop, demo, evaluate, pretrain, train

STREETS, FPS, FRAME = 4, 2.0, (360, 640)
WALKERS = 5 / 3  # people who come per second
SPARSE = 10  # frames, which are 5 seconds
HELD_OUT = 250


def cut_streets(out: Path, seconds: float, settings: DemoSettings) -> dict[str, Path]:
    """Return the crop sets of the streets, with tracks and from few frames."""
    for number in range(1, STREETS + 1):
        path = out / "videos" / f"street-{number}.mp4"
        if not path.exists():
            seed = 1000 * settings.seed + number
            write_street(path, seconds, FPS, round(WALKERS * seconds), FRAME, seed=seed)
    base: CropSettings = demo.cut_out(out / "videos", settings)
    tracking, sampling = TrackingSettings("motion"), SamplingSettings(every=SPARSE)
    return {
        "dense": crop.run(replace(base, out=out / "dense", tracking=tracking)),
        "sparse": crop.run(replace(base, out=out / "sparse", sampling=sampling)),
    }


def with_steps(settings: PretrainSettings, images: Path, count: int, steps: int) -> PretrainSettings:
    """Return settings that take so many steps, whatever the number of images."""
    epochs = -(-steps // (count // settings.sampler.batch))
    data = replace(settings.data, root=(images,))
    return replace(settings, data=data, epochs=epochs, steps_per_epoch=steps // epochs)


def show(what: str, models: dict[str, Path], data: EvaluateDataSettings, out: Path, seed: int) -> None:
    """Evaluate tracks after each kind of single images, which prints all scores, and print the gains in points."""
    for number, name in enumerate(list(models)[:-1]):
        pair, folder = (models[name], models["tracks"]), out / f"report-{what.split(maxsplit=1)[0]}-{number}"
        report = evaluate.run(EvaluateSettings(model=pair, data=data, out=folder))
        gain = json.loads((report.parent / "metrics.json").read_text())["results"][1]["gain"]["ap_rectangular"]
        points, low, high = (100 * value for value in gain)
        print(f"seed {seed}, {what}: tracks over {name}: mAP {points:+.2f} ({low:+.2f} to {high:+.2f})", flush=True)


def compare_streets(out: Path, seed: int, steps: int, seconds: float, *, sparse: bool) -> None:
    settings = DemoSettings(chapter="few-labels", out=out, identities=12, seed=seed)
    crops = cut_streets(out, seconds, settings)
    people = demo._render(settings)
    encoders: dict[str, Path] = {}
    models: dict[str, Path] = {}
    arms = {"single images, every 5 s": ("sparse", "same")} if sparse else {}
    arms |= {"single images": ("dense", "same"), "tracks": ("dense", "track")}
    for number, (name, (kind, positives)) in enumerate(arms.items()):
        start = demo.encoder_of(crops[kind], settings)
        count = json.loads((crops[kind] / "statistics.json").read_text())["crops"]
        start = with_steps(start, crops[kind], count, steps)
        contrast = replace(start.contrast, positives=positives)
        encoders[name] = pretrain.run(replace(start, out=out / f"encoder-{number}", contrast=contrast))
        models[name] = train.run(demo.few_labels(people, encoders[name].as_posix(), out / f"model-{number}", settings))
    show("encoder", encoders, EvaluateDataSettings((people,)), out, seed)
    show("few labels", models, EvaluateDataSettings((people,)), out, seed)


def compare_market(out: Path, root: Path, seed: int, steps: int) -> None:
    table = read(root, hold_out=HELD_OUT)
    folder = out / "images" / "bounding_box_train"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in range(len(table)) if table.splits[row] == "train"]
    for row in rows:
        link = folder / Path(table.paths[row]).name
        if not link.exists():
            link.symlink_to(table.file(row).resolve())
    start = demo.encoder_of(folder.parent, DemoSettings(chapter="few-labels", out=out, seed=seed))
    start = with_steps(start, folder.parent, len(rows), steps)
    models: dict[str, Path] = {}
    for name, positives in {"single images": "same", "tracks": "track"}.items():
        contrast = replace(start.contrast, positives=positives, queue=1024, momentum=0.99)
        models[name] = pretrain.run(replace(start, out=out / f"encoder-{positives}", contrast=contrast))
    show("encoder", models, EvaluateDataSettings((root,), hold_out=HELD_OUT), out, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each street")
    parser.add_argument("--sparse", action="store_true", help="also single images of one frame in five seconds")
    parser.add_argument("--market", type=Path, help="Market-1501's folder, instead of streets")
    options = parser.parse_args()
    for seed in options.seeds:
        if options.market:
            compare_market(options.out / f"market-{seed}", options.market, seed, options.steps)
        else:
            compare_streets(
                options.out / f"streets-{seed}", seed, options.steps, options.seconds, sparse=options.sparse
            )


if __name__ == "__main__":
    main()
