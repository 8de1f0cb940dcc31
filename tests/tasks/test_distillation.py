"""The task of a distillation: over passes and processes, and at half precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rewho.models.factorization import Factorization
from rewho.models.heads import Classifier
from rewho.models.single_view import SingleViewModel
from rewho.settings import DistillSettings, EngineSettings, MimicSettings, ModelSettings
from rewho.tasks.distillation import DistillBatch, DistillTask
from rewho.training.engine import launch
from two_ranks import be_rank, run_ranks

WIDTHS = {"holistic": 16, "up1": 8, "dn1": 8}
IMAGES = 16


def made(size=(64, 32), **mimic) -> tuple[DistillTask, DistillBatch]:
    """Return a task whose running statistics are those of its batch, and the batch: half of its views are ignored."""
    torch.manual_seed(1)
    settings = ModelSettings(backbone="test_resnet", embedding=16, input_size=size, pretrained="none")
    model = SingleViewModel(settings, size)
    branches = Factorization(model.backbone.channels, 16, WIDTHS, features=16)
    task = DistillTask(model, Classifier(16, 4), branches, WIDTHS, DistillSettings(mimic=MimicSettings(**mimic)))
    draw = np.random.default_rng(2)
    batch = DistillBatch(
        torch.from_numpy(draw.integers(0, 255, (IMAGES, 3, *size), dtype=np.uint8)),
        torch.arange(IMAGES) % 4,
        torch.arange(IMAGES),
        torch.zeros(IMAGES, dtype=torch.bool),
        torch.from_numpy(draw.standard_normal((IMAGES, sum(WIDTHS.values()))).astype(np.float32)),
        torch.from_numpy(draw.random((IMAGES, len(WIDTHS))) < 0.5),
        torch.zeros(IMAGES, dtype=torch.bool),
    )
    for norm in (module for module in task.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 1.0
    with torch.no_grad():
        task.train()(batch)
    return task, batch


def halves(batch: DistillBatch) -> list[DistillBatch]:
    return [DistillBatch(*(column.chunk(2)[half] for column in batch)) for half in (0, 1)]


def gradients(whole: bool, **mimic) -> torch.Tensor:
    """Return the gradient of a batch with its statistics fixed, in one pass or as the mean of two."""
    task, batch = made(**mimic)
    parts = [batch] if whole else halves(batch)
    for part in parts:
        (task.eval()(part)["total"] / len(parts)).backward()
    return torch.cat([weights.grad.flatten() for weights in task.parameters()])


def difference(**mimic) -> float:
    """Return how far two passes are from one, as a share of the gradient."""
    one, two = (gradients(whole, **mimic) for whole in (True, False))
    return float((two - one).norm() / one.norm())


@pytest.mark.parametrize("mimic", [{}, {"distance": "cosine"}, {"balance": "uncertainty"}])
def test_passes_add_up_to_the_batch_where_samples_count_alone(mimic):
    assert difference(**mimic) < 1e-4


@pytest.mark.parametrize("mimic", [{"divide_by": "kept"}, {"balance": "scale"}])
def test_passes_do_not_add_up_where_a_loss_looks_at_a_pass_as_a_whole(mimic):
    """As the guide says; if this fails, the guide can promise more."""
    assert difference(**mimic) > 1e-2


def _half(rank: int, port: int, folder: str) -> None:
    be_rank(rank, port)
    fabric = launch(EngineSettings(device="cpu", devices=2, precision="32")).fabric
    task, batch = made()
    wrapped = fabric.setup_module(task.eval())  # kept: gradients are averaged for as long as it is there
    terms = wrapped(halves(batch)[rank])
    fabric.backward(terms["total"])
    mean = {name: fabric.all_reduce(term.detach(), reduce_op="mean") for name, term in terms.items()}
    if rank == 0:
        torch.save((mean, {name: weights.grad for name, weights in task.named_parameters()}), Path(folder, "both.pt"))


def test_two_processes_with_half_a_batch_each_are_one_with_all_of_it(tmp_path):
    """Every loss term and every gradient, where the statistics of batch normalisation are fixed."""
    run_ranks(_half, str(tmp_path))
    mean, gradients = torch.load(tmp_path / "both.pt", weights_only=True)
    task, batch = made()
    terms = task.eval()(batch)
    terms["total"].backward()
    expected = {name: term.detach() for name, term in terms.items()}
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)
    own = {name: weights.grad for name, weights in task.named_parameters()}
    for name, gradient in own.items():
        assert float((gradients[name] - gradient).norm()) <= 1e-4 * float(gradient.norm()), name


@pytest.mark.parametrize("mimic", [{}, {"distance": "cosine", "balance": "scale", "divide_by": "kept"}])
def test_half_precision_is_near_and_its_losses_are_not_halved(mimic):
    # oneDNN's bfloat16 convolution reads memory that nobody wrote where the output is as small as 2 x 1.
    task, batch = made(size=(128, 64), **mimic)
    single = task(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = task(batch)
    half["total"].backward()
    assert {term.dtype for term in half.values()} == {torch.float32}
    for name, term in half.items():
        assert term.item() == pytest.approx(single[name].item(), rel=0.03), name
    gradients = [weights.grad for weights in task.parameters()]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
