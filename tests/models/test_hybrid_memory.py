"""The memory of adaptation, against SpCL's own numbers."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rewho.core.check import UserError
from rewho.losses.prototypes import PUBLISHED_FLOOR, prototype_loss
from rewho.models.hybrid_memory import HybridMemory


def golden(shared, name):
    with np.load(shared / "golden" / "spcl_memory" / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


@pytest.mark.parametrize("name", ["basic", "gaps_and_repeats"])
def test_losses_gradients_and_updates_are_those_of_spcl(shared, name):
    data = golden(shared, name)
    images, size = data["memory_before"].shape
    memory = HybridMemory(images, size, momentum=float(data["momentum"]))
    memory.vectors.copy_(data["memory_before"])
    memory.set_labels(data["labels"])
    for step in ("step0", "step1"):
        inputs, rows = data[f"{step}_inputs"].requires_grad_(), data[f"{step}_indexes"]
        temperature = float(data["temperature"])
        targets = memory.targets(rows)
        loss = prototype_loss(inputs, memory.prototypes(), targets, temperature, floor=PUBLISHED_FLOOR)
        loss.backward()
        memory.update(inputs, rows)
        assert loss.item() == pytest.approx(float(data[f"{step}_loss"]), abs=1e-5)
        assert torch.allclose(inputs.grad, data[f"{step}_grad_inputs"], atol=1e-5)
        assert torch.allclose(memory.vectors, data[f"{step}_memory_after"], atol=1e-5)
    assert any(len(rows.unique()) < len(rows) for rows in (data["step0_indexes"],)) == (name != "basic")


def test_source_and_target_together_have_the_exact_gradient(shared):
    data = golden(shared, "uda_joint_backward")
    sources = int(data["source_classes"])
    memory = HybridMemory(len(data["memory_before"]) - sources, data["memory_before"].shape[1], sources)
    memory.vectors.copy_(data["memory_before"])
    memory.set_labels(data["labels"][sources:] - sources)
    source, target = (data[f"{part}_inputs"].clone().requires_grad_() for part in ("source", "target"))
    rows = {"source": data["source_class_of_input"], "target": sources + data["target_image_index"]}
    losses = [
        prototype_loss(part, memory.prototypes(), memory.targets(rows[name]), 0.05, floor=PUBLISHED_FLOOR)
        for part, name in ((source, "source"), (target, "target"))
    ]
    sum(losses).backward()
    assert losses[0].item() == pytest.approx(float(data["loss_source"]), abs=1e-5)
    assert losses[1].item() == pytest.approx(float(data["loss_target"]), abs=1e-5)
    assert torch.allclose(source.grad, data["exact_grad_source"].float(), atol=1e-5)
    assert torch.allclose(target.grad, data["exact_grad_target"].float(), atol=1e-5)
    memory.update(torch.cat([source, target]), torch.cat([rows["source"], rows["target"]]))
    assert torch.allclose(memory.vectors, data["reference_memory_after"], atol=1e-5)


def points(count, size=6, seed=3):
    return F.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))


def test_centroids_are_normalised_means_of_the_kept_images():
    vectors, labels = points(6), torch.tensor([4, -1, 4, 2, 2, -1])
    memory = HybridMemory(6, 6, kind="centroid")
    memory.fill(vectors, labels)
    expected = F.normalize(torch.stack([vectors[[3, 4]].mean(0), vectors[[0, 2]].mean(0)]))
    assert torch.allclose(memory.prototypes(), expected, atol=1e-6)
    assert memory.labels.tolist() == [1, -1, 1, 0, 0, -1]


def test_a_centroid_moves_by_each_image_in_order_and_hard_by_the_farthest_only():
    vectors, labels, batch = points(4), torch.tensor([0, 0, 1, 1]), points(3, seed=9)
    rows = torch.tensor([0, 2, 1])
    for kind in ("centroid", "hard"):
        memory = HybridMemory(4, 6, kind=kind, momentum=0.1)
        memory.fill(vectors, labels)
        first, second = memory.prototypes()
        memory.update(batch, rows)
        own = [0, 2]
        if kind == "hard":
            own = [min(own, key=lambda row: float(batch[row] @ first))]
        for row in own:
            first = F.normalize(0.1 * first + 0.9 * batch[row], dim=0)
        second = F.normalize(0.1 * second + 0.9 * batch[1], dim=0)
        assert torch.allclose(memory.prototypes(), torch.stack([first, second]), atol=1e-6)


def test_labels_without_a_class_are_told():
    memory = HybridMemory(3, 2)
    with pytest.raises(UserError, match="some class"):
        memory.set_labels(torch.tensor([-1, -1, -1]))
    with pytest.raises(UserError, match="of some class"):
        memory.set_labels(torch.tensor([0, 1]))
