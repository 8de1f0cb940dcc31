"""A step of `rewho train` with MGN beside its backbone and its heads measured bare, in one run, in turns.

The command itself runs, on rendered people: workers, transfer, checks of loss and gradient, the log. The bare backbone
is the trunk with its three branches, forward and backward, from random floats and with given gradients; the bare heads
are the eight heads with their classifiers and losses, forward and backward, on given maps; each with its part of the
optimizer.

    python benchmarks/mgn_step.py --backbone resnet18 --size 192 64 --batch 16 --threads 1
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rewho.data.batches import Batch
from rewho.models.mgn import MultipleGranularityModel
from rewho.rendered import write_people
from rewho.settings import (
    DataSettings,
    EngineSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    SamplerSettings,
    TrainSettings,
)
from rewho.stages import train
from rewho.tasks import labelled as training
from rewho.tasks.identity import IdentityTask
from rewho.training.engine import launch
from rewho.training.optim import build_optimizer
from timed_run import Plan, in_turns, time_command

PER_PERSON = 4


class Given(nn.Module):
    """A branch that answers with a given map."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _shared: Tensor) -> Tensor:
        """Return the map."""
        return self.answer


def bare_steps(settings: TrainSettings, identities: int, device: torch.device) -> dict[str, Callable[[], None]]:
    """Return functions that take a step of the backbone alone and of the heads alone."""
    height, width = settings.model.input_size
    model = MultipleGranularityModel(settings.model, (height, width))
    task = IdentityTask(model, identities, settings.loss).to(device, memory_format=torch.channels_last).train()
    own = nn.ModuleList(model.pretrained_parts().values())
    optimizers = [build_optimizer(part, [], settings.optimizer) for part in (own, nn.ModuleList(task.new_parts()))]
    branches, backbone = model.branches, model.backbone
    count = settings.sampler.batch
    images = torch.randn(count, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=settings.engine.precision == "bf16")

    with torch.no_grad(), autocast():
        maps = [branch(backbone(images)) for branch in branches]
    gradients = [torch.randn_like(part) for part in maps]
    model.branches = nn.ModuleList(Given(part.requires_grad_()) for part in maps)
    model.backbone = nn.Identity()  # type: ignore[assignment]
    labels = torch.arange(count, device=device) // PER_PERSON
    nothing = torch.zeros(count, device=device)
    batch = Batch(torch.zeros(count, 3, 1, 1, dtype=torch.uint8, device=device), labels, labels, nothing, nothing)

    def bare_backbone() -> None:
        with autocast():
            trunk = backbone(images)
            found = [branch(trunk) for branch in branches]
        torch.autograd.backward(found, gradients)
        finish(0)

    def bare_heads() -> None:
        with autocast():
            total = task(batch)["total"]
        total.backward()
        for part in maps:
            part.grad = None
        finish(1)

    def finish(number: int) -> None:
        optimizers[number].step()
        optimizers[number].zero_grad(set_to_none=True)

    return {"backbone": bare_backbone, "heads": bare_heads}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 64))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--embedding", type=int, default=2048)
    parser.add_argument("--identities", type=int, default=100, help="rendered people, 16 images each at most")
    parser.add_argument("--precision", default="32", choices=("32", "bf16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps timed per round")
    parser.add_argument("--warm", type=int, default=1, help="steps before them")
    options = parser.parse_args()
    engine = EngineSettings(options.device, options.threads, 1, options.precision)
    plan = Plan(launch(engine).fabric.device, options.rounds, options.warm, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        people = write_people(Path(folder, "people"), identities=options.identities, test_identities=1, distractors=0)
        settings = TrainSettings(
            data=DataSettings(people, workers=options.workers),
            model=ModelSettings(
                "mgn",
                options.backbone,
                embedding=options.embedding,
                input_size=tuple(options.size),
                pretrained="none",
            ),
            sampler=SamplerSettings("identities", options.batch, images_per_identity=PER_PERSON),
            loss=LossSettings(identity=0.125, triplet=0.2, classifier="circle", margin=0.0),
            optimizer=OptimizerSettings(kind="adam", learning_rate=1e-4),
            engine=engine,
            epochs=1,
            steps_per_epoch=plan.batches(),
            evaluate_every=-1,
        )
        steps = bare_steps(settings, options.identities, plan.device)
        found = in_turns(lambda: time_command(train.run, settings, training, plan), steps, plan)
    print(f"{vars(options)}\non {plan.device}, ms per step, medians of {plan.rounds} rounds of {plan.steps} steps")
    for clock in ("wall",) if plan.device.type == "cuda" else ("wall", "cpu"):
        whole, backbone, heads = (found[name][clock] for name in ("command", "backbone", "heads"))
        print(f"{clock:5}backbone {backbone:9.1f}   heads {heads:8.1f}   rewho train {whole:9.1f}", end="")
        print(f"   rewho train / (backbone + heads) {whole / (backbone + heads):.3f}")


if __name__ == "__main__":
    main()
