"""What a step of `rewho pretrain` takes beside a bare loop of the same network on random tensors, in one run, in turns.

python benchmarks/pretrain_step.py [--backbone resnet18] [--size 128 64] [--batch 32] [--group 32] [--queue 65536]
    [--precision auto] [--device auto] [--threads 0] [--workers 2] [--compile] [--rounds 3] [--steps 6] [--warm 2]

The command itself runs, on a crop set of rendered people: workers that decode and make views, transfer, split batch
normalisation, the queue, the checks of loss and gradient, the log. The bare loop is what no pre-training by contrast
can save: the query encoder forward and backward, the key encoder forward, the optimizer; on float tensors that lie on
the device, with plain batch normalisation, in the same precision, memory layout and compilation.

On a GPU: --backbone resnet50 --size 256 128 --batch 256 --workers 8 --warm 40 --steps 40. The workers are four batches
ahead each, so what they cannot keep up with shows after those only.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.runtime import generator
from rewho.crops.rows import rows_table
from rewho.crops.writer import ShardWriter, crop_row, encode
from rewho.losses.contrastive import contrastive_accuracy, contrastive_scores, info_nce
from rewho.models.momentum import KeyQueue, ProjectionHead
from rewho.models.single_view import SingleViewModel
from rewho.models.split_norm import split_batch_norm
from rewho.rendered import Camera, Identity, render_person
from rewho.settings import (
    ContrastSettings,
    EngineSettings,
    ModelSettings,
    PretrainDataSettings,
    PretrainSettings,
    SamplerSettings,
)
from rewho.stages import pretrain
from rewho.training.engine import launch
from rewho.training.optim import build_optimizer
from timed_run import Plan, Times, in_turns, time_command

RENDERED = 128
"""People that are drawn; a larger crop set has them several times, and decodes them each time."""


def write_crops(folder: Path, count: int) -> Path:
    """Write a crop set of rendered people of 192 x 80 pixels, as large as crops from street video often are."""
    writer = ShardWriter(folder)
    people = []
    for number in range(min(count, RENDERED)):
        identity, camera = Identity.draw(1, number), Camera.draw(1, number % 6)
        people.append(render_person(identity, camera, generator(1, "benchmark", number), (192, 80)).image)
    encoded = [encode(image) for image in people]
    chosen = [number % RENDERED for number in range(count)]
    rows = [crop_row(f"crop-{row:06d}", encoded[number], people[number]) for row, number in enumerate(chosen)]
    writer.add(rows_table(rows), [encoded[number] for number in chosen])
    writer.commit()
    return folder


class Bare(nn.Module):
    """Query encoder and key encoder, with nothing between them."""

    def __init__(self, settings: ModelSettings, contrast: ContrastSettings, size: tuple[int, int], group: int) -> None:
        super().__init__()
        encoder = SingleViewModel(settings, size)
        self.encoder = nn.ModuleList([encoder, ProjectionHead(encoder.settings.embedding, contrast.projection)])
        self.keys = copy.deepcopy(self.encoder).requires_grad_(False)
        if group:
            split_batch_norm(self, group)

    def forward(self, first: Tensor, second: Tensor, aim: Tensor) -> Tensor:
        """Return something that depends on all of it."""
        model, projection = self.encoder
        query = projection(model.represent(model.backbone(first)))
        model, projection = self.keys
        with torch.no_grad():
            key = projection(model.represent(model.backbone(second)))
        return -(query * (aim + key)).sum()


def bare_step(settings: PretrainSettings, group: int, device: torch.device) -> Callable[[], object]:
    """Return a function that takes one bare step; with a group, batch normalisation is split as the command has it."""
    height, width = settings.model.input_size
    model = Bare(settings.model, settings.contrast, (height, width), group).to(device).train()
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model.encoder[0], [model.encoder[1]], replace(settings.optimizer, learning_rate=1e-3))
    count = settings.sampler.batch
    views = torch.randn(2, count, 3, height, width, device=device)
    first, second = (view.contiguous(memory_format=torch.channels_last) for view in views)
    aim = F.normalize(torch.randn(count, settings.contrast.projection, device=device))
    if settings.engine.compile:
        model.compile()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.engine.precision == "bf16"):
            loss = model(first, second, aim)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def queue_step(settings: PretrainSettings, device: torch.device) -> Callable[[], object]:
    """Return a function that does what the queue is there for: scores, loss, its backward pass, new keys."""
    contrast = settings.contrast
    queue = KeyQueue(contrast.queue, contrast.projection).to(device)
    queries, keys = F.normalize(torch.randn(2, settings.sampler.batch, contrast.projection, device=device), dim=-1)
    queries.requires_grad_()

    def step() -> None:
        before = queue.keys.clone()
        queue.enqueue(keys)
        scores = contrastive_scores(queries, keys, before, contrast.temperature)
        with torch.no_grad():
            contrastive_accuracy(scores), scores.negative.mean()
        info_nce(scores).backward()

    return step


def report(found: dict[str, Times], batch: int, clock: str) -> None:
    """Print the table of one clock."""
    whole, bare, grouped, queue = (found[name][clock] for name in ("command", "bare", "grouped", "queue"))
    waited = found["command"]["waited"] if clock == "wall" else 0.0
    rest = 100 * (whole - grouped - queue - waited)
    print(f"\n{clock} time            ms per step      images/s")
    for name, spent in (("rewho pretrain", whole), ("bare loop", bare)):
        print(f"  {name:18}{spent:13.1f}{1000 * batch / spent:14.1f}")
    print(f"  images/s beside the bare loop   {100 * bare / whole:6.1f} %")
    print(f"  share of a step outside         {100 * (1 - bare / whole):6.1f} %, of it")
    print(f"    batch normalisation in groups {100 * (grouped - bare) / whole:6.1f} %")
    print(f"    queue: scores, loss, new keys {100 * queue / whole:6.1f} %  ({queue:.1f} ms)")
    if clock == "wall":
        print(f"    waiting for the loader        {100 * waited / whole:6.1f} %")
    print(f"    key encoder's move, shuffle, bytes to floats, checks, log, rest {rest / whole:6.1f} %")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 64))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--group", type=int, default=32, help="images that share a batch normalisation; 0 is all")
    parser.add_argument("--queue", type=int, default=65536)
    parser.add_argument("--precision", default="auto", choices=("auto", "32", "bf16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="steps timed per round")
    parser.add_argument("--warm", type=int, default=2, help="steps before them; more than 4 per worker on a GPU")
    options = parser.parse_args()
    device = launch(EngineSettings(options.device, options.threads)).fabric.device
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    precision = {"auto": "bf16" if half else "32"}.get(options.precision, options.precision)
    plan = Plan(device, options.rounds, options.warm, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        settings = PretrainSettings(
            data=PretrainDataSettings(
                (write_crops(Path(folder), plan.batches() * options.batch),),
                workers=options.workers,
                statistics_of=RENDERED,
            ),
            model=ModelSettings(
                backbone=options.backbone,
                pooling="gap",
                head="none",
                pretrained="none",
                input_size=tuple(options.size),
            ),
            contrast=ContrastSettings(queue=options.queue, norm_group=options.group),
            sampler=SamplerSettings(batch=options.batch),
            engine=EngineSettings(options.device, options.threads, 1, precision, options.compile),
            epochs=1,
            evaluate_every=-1,
        )
        steps = {"bare": bare_step(settings, 0, device), "grouped": bare_step(settings, options.group, device)}
        steps["queue"] = queue_step(settings, device)
        found = in_turns(lambda: time_command(pretrain.run, settings, pretrain, plan), steps, plan)
    print(f"{vars(options)}\non {device} in {precision}, medians of {plan.rounds} rounds of {plan.steps} steps")
    report(found, options.batch, "wall")
    if device.type == "cpu":
        report(found, options.batch, "cpu")
    workers = found["command"]["workers"]
    print(f"\nCPU time of the loader's workers: {workers:.1f} ms per batch, {workers / options.batch:.2f} per image")


if __name__ == "__main__":
    main()
