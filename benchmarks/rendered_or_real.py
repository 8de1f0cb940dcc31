"""How well a small network tells rendered people from photographs, and by what: the next thing to mend.

Unusual: nothing is timed, and nothing that is learned here is kept: photographs measure the renderer, no model. One
network is trained for each part of the image that it is allowed to see: everything, grey values, coarse pixels, the
person's middle, the edges around it, head, trunk and legs. The part with the highest accuracy gives rendering away;
chance is 50 %. Images of both kinds are halved by identity, so that no person is in both halves.

    python benchmarks/rendered_or_real.py --real market1501/bounding_box_train --cameras 30 --images 2000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rewho.core.runtime import generator
from rewho.rendered import Camera, Identity, render_person
from rewho.rendered.people import RENDERER

Images = NDArray[np.uint8]


def _only(top: float, bottom: float, left: float, right: float, *, inside: bool = True) -> Callable[[Tensor], Tensor]:
    """Return a function that keeps a box of the images, as fractions, or what is around it, and greys the rest."""

    def keep(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        mask = torch.zeros(height, width)
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 1
        return images * (mask if inside else 1 - mask)

    return keep


def _coarsen(images: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(images, 8), scale_factor=8.0, mode="bilinear")


PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda images: images,
    "grey": lambda images: images.mean(1, keepdim=True).expand(-1, 3, -1, -1),
    "coarse": _coarsen,
    "middle": _only(0.05, 0.95, 0.3, 0.7),
    "edges": _only(0.0, 1.0, 0.22, 0.78, inside=False),
    "head": _only(0.0, 0.2, 0.0, 1.0),
    "trunk": _only(0.2, 0.5, 0.0, 1.0),
    "legs": _only(0.5, 1.0, 0.0, 1.0),
}


def read_real(folder: Path, count: int, seed: int) -> tuple[Images, NDArray[np.int64]]:
    """Return random photographs [N, 128, 64, 3] and the person on each, from names like 0002_c1s1_000451_03.jpg."""
    paths = [path for path in sorted(folder.glob("*.jpg")) if not path.name.startswith("-1")]
    chosen = generator(seed, "real").permutation(len(paths))[:count]
    images = [cv2.resize(cv2.imread(str(paths[row])), (64, 128))[..., ::-1] for row in chosen]
    return np.stack(images), np.array([int(paths[row].name.split("_")[0]) for row in chosen])


def render(count: int, cameras: int, seed: int) -> tuple[Images, NDArray[np.int64]]:
    """Return rendered images [N, 128, 64, 3], through a JPEG file each, and the person on each."""
    images = []
    for person in range(1, count + 1):
        camera = Camera.draw(seed, 1 + person % cameras)
        image = render_person(Identity.draw(seed, person), camera, generator(seed, "either", person)).image
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality])
        images.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.stack(images), np.arange(count)


def build_network() -> nn.Module:
    """Return a small network from images [N, 3, 128, 64] to one logit."""
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 1))


def measure(images: Tensor, labels: Tensor, trained: Tensor, epochs: int, seed: int) -> float:
    """Train on the rows `trained` and return the accuracy on the others."""
    torch.manual_seed(seed)
    network = build_network()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.01)
    rows = torch.nonzero(trained).flatten()
    steps = epochs * (len(rows) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    for _ in range(epochs):
        for part in rows[torch.randperm(len(rows))].split(64)[: len(rows) // 64]:
            batch = images[part] if torch.rand(()) < 0.5 else images[part].flip(-1)
            loss = F.binary_cross_entropy_with_logits(network(batch).flatten(), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        guessed = torch.cat([network(part).flatten() > 0 for part in images[~trained].split(256)])
    return float((guessed == (labels[~trained] > 0)).float().mean())


def main() -> None:
    """Print the accuracy of each part as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="folder of photographs in Market-1501's names")
    parser.add_argument("--images", type=int, default=2000, help="of each kind")
    parser.add_argument("--cameras", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    real, people = read_real(given.real, given.images, given.seed)
    made, numbers = render(len(real), given.cameras, given.seed)
    images = torch.from_numpy(np.concatenate([real, made])).permute(0, 3, 1, 2).float() / 128 - 1
    labels = torch.cat([torch.zeros(len(real)), torch.ones(len(made))])
    trained = torch.from_numpy(np.concatenate([people, numbers]) % 2 == 0)
    accuracy = {
        part: round(measure(PARTS[part](images), labels, trained, given.epochs, given.seed), 4) for part in given.parts
    }
    print(json.dumps({"renderer": RENDERER, "images of each kind": len(real), "accuracy": accuracy}, indent=1))


if __name__ == "__main__":
    main()
