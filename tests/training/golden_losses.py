"""Fifty steps of each kind of training on made-up pictures: prints every loss, to the bit, as JSON.

Run by test_golden_losses.py in a process whose arithmetic is that of the plainest processor, so that the losses depend
on PyTorch's version alone. To write down what a new version computes:

    python tests/training/golden_losses.py --record
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
RECORD = Path(__file__).with_suffix(".json")


def name() -> str:
    """Return what the losses depend on."""
    import torch  # after the environment is set

    return f"torch {torch.__version__.partition('+')[0]}, {platform.machine()}"


def batches():
    """Yield fifty batches of eight pictures of four people, with rectangles erased from some."""
    import numpy as np
    import torch

    from rewho.data.batches import Batch

    random = np.random.Generator(np.random.PCG64(5))
    people = random.integers(0, 256, (4, 3, 8, 4), dtype=np.uint8)
    for _ in range(50):
        rows = random.integers(0, 16, 8)
        pictures = people[rows % 4].repeat(8, axis=2).repeat(8, axis=3) // 2 + random.integers(
            0, 128, (8, 3, 64, 32), np.uint8
        )
        erased = np.tile(np.array([10, 5, 30, 20], np.int32), (8, 1)) * random.integers(0, 2, (8, 1), np.int32)
        images = torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last)
        flipped = torch.from_numpy(random.integers(0, 2, 8).astype(bool))
        yield Batch(images, torch.from_numpy(rows % 4), torch.from_numpy(rows), torch.from_numpy(erased), flipped)


def network():
    """Return a small student."""
    from rewho.core.settings import ModelSettings
    from rewho.models.single_view import SingleViewModel

    settings = ModelSettings(backbone="squeezenet1_1", embedding=16, input_size=(64, 32), pretrained="none")
    return SingleViewModel(settings, (64, 32))


def identity():
    """Return the task of `rewho train` and its batches."""
    from rewho.core.settings import LossSettings
    from rewho.stages.train import IdentityTask

    return IdentityTask(network(), 4, LossSettings(triplet=1.0, label_smoothing=0.1)), batches()


def distillation():
    """Return the task of `rewho distill` and its batches."""
    import numpy as np
    import torch

    from rewho.core.settings import DistillSettings
    from rewho.data.views import VIEWS, ignored
    from rewho.models.factorization import Factorization
    from rewho.models.heads import Classifier
    from rewho.pipeline.distilling import DistillBatch, DistillTask

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

    from rewho.core.settings import ContrastSettings
    from rewho.pipeline.contrasting import ContrastBatch, ContrastTask

    task = ContrastTask(network(), ContrastSettings(queue=64, projection=8, norm_group=4))

    def supplied():
        for batch in batches():
            order = torch.linspace(1, 0, 8, dtype=torch.float64)
            yield ContrastBatch(batch.images, batch.images.flip(-1), order, batch.rows)

    return task, supplied()


def losses(task, supplied) -> list[str]:
    """Take fifty steps and return the loss of each, exactly."""
    from rewho.core.settings import OptimizerSettings
    from rewho.training.optim import build_optimizer

    optimizer = build_optimizer(task, [], OptimizerSettings(learning_rate=0.002))
    found = []
    for batch in supplied:
        total = task(batch)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        found.append(float(total.detach()).hex())
    return found


def main() -> None:
    """Print the losses by kind of training; with --record keep them."""
    os.environ.update(PLAIN)
    import torch

    torch.backends.mkldnn.enabled = False
    torch.set_num_threads(1)
    found = {}
    for make in (identity, distillation, contrast):
        torch.manual_seed(1)
        found[make.__name__] = losses(*make())
    if "--record" in sys.argv:
        known = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
        RECORD.write_text(json.dumps(known | {name(): found}, indent=1) + "\n")
    print(json.dumps({"name": name(), "losses": found}))


if __name__ == "__main__":
    main()
