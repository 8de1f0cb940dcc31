"""What distillation costs: a step beside a plain training step, stored beside online representations, extraction.

python benchmarks/distillation.py [--backbones squeezenet1_1 resnet18] [--size 256 128] [--rounds 3] [--steps 3]
    [--device cpu] [--precision 32] [--threads 0] [--out FILE]

Images are random bytes: what a step costs does not depend on them. Both kinds of steps run in turns in one process.
Extraction is `rewho represent` as a user runs it, on files of rendered people; `--backbones` without a name measures it
alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rewho.data.augment import resize
from rewho.data.batches import Batch
from rewho.data.datasets import read_settings
from rewho.data.images import decode
from rewho.data.views import VIEWS
from rewho.embedding.embedder import embedder, view_of
from rewho.embedding.foreign_networks import Teacher
from rewho.models.factorization import Factorization
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, save_model
from rewho.rendered import write_people
from rewho.settings import (
    BranchSettings,
    DataSettings,
    DeviceSettings,
    DistillSettings,
    EngineSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    RepresentSettings,
)
from rewho.settings.command_line import read_recipe
from rewho.stages import represent
from rewho.tasks.distillation import DistillBatch, DistillTask, OnlineTeachers
from rewho.tasks.identity import IdentityTask
from rewho.tasks.labelled import select_training_part
from rewho.training.engine import Engine, launch
from rewho.training.optim import build_optimizer

IDENTITIES, BATCH = 767, 32
FAST_FEATURES = read_recipe(Path(__file__).parents[1] / "recipes/fd/distill-fast.yaml")["branches.features"]
WIDTHS = {view: 512 if view == "holistic" else 256 for view in VIEWS}


def student(backbone: str, size: tuple[int, int]) -> SingleViewModel:
    """Return an untrained student."""
    model = SingleViewModel(ModelSettings(backbone=backbone, pretrained="none"), size)
    return model.to(memory_format=torch.channels_last)


def stepper(task: nn.Module, batch: tuple[Tensor, ...], engine: Engine) -> Callable[[], None]:
    """Return a function that takes one whole training step."""
    task = task.to(engine.fabric.device)
    optimizer = build_optimizer(task, [], OptimizerSettings())
    wrapped, optimizer = engine.fabric.setup(task, optimizer)
    batch = engine.fabric.to_device(batch)

    def step() -> None:
        wrapped.train()
        engine.fabric.backward(wrapped(batch)["total"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if engine.fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def seconds(steps: dict[str, Callable[[], None]], rounds: int, count: int) -> dict[str, float]:
    """Return the median seconds of each kind of step, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(count):
                step()
            times[name].append((time.perf_counter() - began) / count)
    return {name: statistics.median(values) for name, values in times.items()}


# Where a step's time goes, by the names of torch's operators.
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::cudnn_convolution"),
    "normalisation": ("aten::native_batch_norm", "aten::native_batch_norm_backward", "aten::cudnn_batch_norm"),
    "ReLU": ("aten::clamp_min_", "aten::threshold_backward"),
    "pooling": ("aten::avg_pool2d", "aten::avg_pool2d_backward", "aten::amax", "aten::eq", "aten::fill_"),
}


def where_it_goes(step: Callable[[], None]) -> dict[str, float]:
    """Return the milliseconds that one step spends in each kind of operator, as torch's profiler sees it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    times = {event.key: event.self_cpu_time_total / 1000 for event in profile.key_averages()}
    kinds = {kind: sum(times.pop(name, 0.0) for name in names) for kind, names in KINDS.items()}
    return kinds | {"all else": sum(times.values())}


def distill_task(backbone: str, size: tuple[int, int], features: int, online: OnlineTeachers | None) -> DistillTask:
    """Return student, classifier and seven views' branches."""
    model = student(backbone, size)
    factorization = Factorization(model.backbone.channels, 512, WIDTHS, features)
    settings = DistillSettings(branches=BranchSettings(features=features))
    return DistillTask(model, Classifier(512, IDENTITIES), factorization, WIDTHS, settings, online)


def print_where(plain: Callable[[], None], distilled: Callable[[], None]) -> None:
    """Print what each kind of operator adds to a plain step, as a share of it."""
    before, after = where_it_goes(plain), where_it_goes(distilled)
    whole = sum(before.values())
    for kind in sorted(after, key=lambda kind: before[kind] - after[kind]):
        print(f"{'':14} {kind:30} {(after[kind] - before[kind]) / whole:+6.2f} of a plain step")


def batches(size: tuple[int, int]) -> tuple[Batch, DistillBatch]:
    """Return a batch of random bytes for each kind of step."""
    random = np.random.default_rng(1)
    images = torch.from_numpy(random.integers(0, 256, (BATCH, *size, 3), np.uint8)).permute(0, 3, 1, 2)
    labels, rows = torch.from_numpy(random.integers(0, IDENTITIES, BATCH)), torch.arange(BATCH)
    flipped = torch.zeros(BATCH, dtype=torch.bool)
    targets = torch.from_numpy(random.standard_normal((BATCH, sum(WIDTHS.values())), np.float32))
    keep = torch.ones(BATCH, len(WIDTHS), dtype=torch.bool)
    distilled = DistillBatch(images, labels, rows, flipped, targets, keep, flipped)
    return Batch(images, labels, rows, torch.zeros(BATCH, 4, dtype=torch.int32), flipped), distilled


def squeezenet_teachers(device: torch.device) -> OnlineTeachers:
    """Return seven untrained SqueezeNets, one per view at the paper's size."""
    teachers = []
    for view in VIEWS.values():
        settings = ModelSettings(embedding=WIDTHS[view.name], view=view.name)
        network = embedder(SingleViewModel(settings, view.size), EngineSettings(device=device.type)).model
        teachers.append(Teacher(view.name, view, settings.embedding, "untrained", network, device, (0.0, 0.0, 0.0)))
    return OnlineTeachers(teachers)


def extraction(device: torch.device, rounds: int, folder: Path) -> dict[str, float]:
    """Return the seconds of `rewho represent`, of its forward passes alone, and of reading its images alone.

    Args:
        device: Where the teacher, a SqueezeNet at 256 x 128, computes.
        rounds: Measurements of each.
        folder: An empty folder.
    """
    people = write_people(folder / "people", identities=40, test_identities=1, distractors=0, junk=0)
    model = embedder(student("squeezenet1_1", (256, 128)), DeviceSettings(device.type))
    save_model(folder / "teacher", model.model, ModelCard())
    settings = RepresentSettings((folder / "teacher",), data=DataSettings(people), engine=DeviceSettings(device.type))
    part, view = select_training_part(read_settings(settings.data)), view_of(model.model)
    files = [part.file(row) for row in range(len(part))]
    pixels = torch.zeros((len(files), *view.size, 3), dtype=torch.uint8)

    def stage() -> None:
        represent.run(replace(settings, out=Path(tempfile.mkdtemp(dir=folder))))

    @torch.inference_mode()
    def forward() -> None:
        for batch in pixels.split(settings.batch):
            images = batch.to(device).permute(0, 3, 1, 2)
            ((model.model(images) + model.model(images.flip(-1))) / 2).cpu()

    def read() -> None:
        for file in files:
            resize([decode(file)], view)

    return seconds({"represent": stage, "bare forward passes": forward, "reading images": read}, rounds, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="*", default=["squeezenet1_1", "resnet18"])
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    engine = launch(EngineSettings(device=options.device, precision=options.precision, threads=options.threads))
    plain, distilled = batches(size)
    found: dict[str, dict[str, float]] = {}
    for backbone in options.backbones:
        steps = {"plain": stepper(IdentityTask(student(backbone, size), IDENTITIES, LossSettings()), plain, engine)}
        for features in (512, FAST_FEATURES):
            task = distill_task(backbone, size, features, None)
            steps[f"distil, {features} features"] = stepper(task, distilled, engine)
        if backbone == "squeezenet1_1":
            task = distill_task(backbone, size, 512, squeezenet_teachers(engine.fabric.device))
            steps["distil, 512 features, online"] = stepper(task, distilled, engine)
        found[backbone] = seconds(steps, options.rounds, options.steps)
        for name, value in found[backbone].items():
            print(f"{backbone:14} {name:30} {1000 * value:9.1f} ms  {value / found[backbone]['plain']:6.2f} x plain")
        if engine.fabric.device.type == "cpu":
            print_where(steps["plain"], steps["distil, 512 features"])
    with tempfile.TemporaryDirectory() as folder:
        found["extraction"] = times = extraction(engine.fabric.device, options.rounds, Path(folder))
    print(f"extraction takes {times['represent'] / times['bare forward passes']:.3f} of the bare forward passes' time")
    print(f"reading images alone takes {times['reading images'] / times['represent']:.3f} of extraction's time")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
