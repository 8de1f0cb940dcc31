"""Twenty steps of each kind of training on made-up images.

Run by test_golden_losses.py, also in a process of its own, which prints every loss in float32. To write down new ones:

    python tests/training/golden_losses.py --record
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

KINDS = ("identity", "distillation", "contrast")
STEPS = 20
RECORD = Path(__file__).with_suffix(".json")


def batches():
    """Yield batches of eight images of four people, with rectangles erased from some."""
    import numpy as np
    import torch

    from rewho.data.batches import Batch

    random = np.random.Generator(np.random.PCG64(5))
    people = random.integers(0, 256, (4, 3, 8, 4), dtype=np.uint8)
    while True:
        rows = random.integers(0, 16, 8)
        images = people[rows % 4].repeat(8, axis=2).repeat(8, axis=3) // 2 + random.integers(
            0, 128, (8, 3, 64, 32), np.uint8
        )
        erased = np.tile(np.array([10, 5, 30, 20], np.int32), (8, 1)) * random.integers(0, 2, (8, 1), np.int32)
        images = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        flipped = torch.from_numpy(random.integers(0, 2, 8).astype(bool))
        yield Batch(images, torch.from_numpy(rows % 4), torch.from_numpy(rows), torch.from_numpy(erased), flipped)


def network():
    """Return a small student."""
    from rewho.models.single_view import SingleViewModel
    from rewho.settings import ModelSettings

    settings = ModelSettings(backbone="squeezenet1_1", embedding=16, input_size=(64, 32), pretrained="none")
    return SingleViewModel(settings, (64, 32))


def identity():
    """Return the task of `rewho train` and its batches."""
    from rewho.settings import LossSettings
    from rewho.tasks.identity import IdentityTask

    return IdentityTask(network(), 4, LossSettings(triplet=1.0, label_smoothing=0.1)), batches()


def distillation():
    """Return the task of `rewho distill` and its batches."""
    import numpy as np
    import torch

    from rewho.data.views import VIEWS, ignored
    from rewho.models.factorization import Factorization
    from rewho.models.heads import Classifier
    from rewho.settings import DistillSettings
    from rewho.tasks.distillation import DistillBatch, DistillTask

    views = [VIEWS[view] for view in ("holistic", "up2", "dn2")]
    widths = {view.name: width for view, width in zip(views, (16, 8, 8), strict=True)}
    model = network()
    branches = Factorization(model.backbone.channels, 16, widths, features=16)
    task = DistillTask(model, Classifier(16, 4), branches, widths, DistillSettings())
    stored = np.random.Generator(np.random.PCG64(6)).standard_normal((16, sum(widths.values()))).astype(np.float32)

    def supplied():
        for batch in batches():
            keep = ~ignored(batch.erased.numpy(), batch.flipped.numpy(), views, (64, 32), 0.4)
            targets = torch.from_numpy(stored[batch.rows.numpy()])
            yield DistillBatch(
                *batch[:3], batch.flipped, targets, torch.from_numpy(keep), torch.zeros(8, dtype=torch.bool)
            )

    return task, supplied()


def contrast():
    """Return the task of `rewho pretrain` and its batches."""
    import torch

    from rewho.settings import ContrastSettings
    from rewho.tasks.contrast import ContrastBatch, ContrastTask

    task = ContrastTask(network(), ContrastSettings(queue=64, projection=8, norm_group=4))

    def supplied():
        for batch in batches():
            order = torch.linspace(1, 0, 8, dtype=torch.float64)
            yield ContrastBatch(batch.images, batch.images.flip(-1), order, batch.rows, batch.rows)

    return task, supplied()


def same_weights_everywhere(task) -> None:
    """Draw every weight with NumPy: PyTorch's normal numbers differ in their last bits between processors."""
    import numpy as np
    import torch

    random = np.random.Generator(np.random.PCG64(7))
    with torch.no_grad():
        for name, tensor in [*task.named_parameters(), *task.named_buffers()]:
            if tensor.ndim > 1:
                drawn = torch.from_numpy(random.standard_normal(tensor.shape))
                in_queue = name.endswith("queue.keys")
                tensor.copy_(drawn / (drawn.norm(dim=1, keepdim=True) if in_queue else (tensor[0].numel() / 2) ** 0.5))


def losses(kind: str, dtype: str, steps: int = STEPS) -> list[float]:
    """Train from the beginning and return the loss of each step.

    Args:
        kind: identity, distillation or contrast.
        dtype: float64, in which processors differ too little to matter, or float32, as trainings compute.
        steps: How many.
    """
    import torch

    from rewho.settings import OptimizerSettings
    from rewho.training.optim import build_optimizer

    torch.manual_seed(1)
    task, supplied = {"identity": identity, "distillation": distillation, "contrast": contrast}[kind]()
    task.to(getattr(torch, dtype))
    same_weights_everywhere(task)
    optimizer = build_optimizer(task, [], OptimizerSettings(learning_rate=0.002))
    found = []
    for _, batch in zip(range(steps), supplied, strict=False):
        total = task(batch)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(float(total.detach()))
    return found


def main() -> None:
    """Print the losses in float32 by kind of training; with --record, write those in float64 down."""
    import torch

    torch.set_num_threads(1)
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({kind: losses(kind, "float64") for kind in KINDS}, indent=1) + "\n")
    print(json.dumps({kind: losses(kind, "float32") for kind in KINDS}))


if __name__ == "__main__":
    main()
