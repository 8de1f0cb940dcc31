"""Images per second of a student as an int8 ONNX file, beside the same student in floats and ResNet-50 in torch.

Unusual: all are measured in turns within one run, on one thread, in processor time, so that other work on the machine
changes little. ResNet-50 is eager, in floats, in evaluation mode, in the memory format in which it is fastest.

    python benchmarks/int8.py --model starter --calibration people --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision.models import resnet50

import rewho
from rewho.embedding.exported import ExportedModel
from rewho.settings import CalibrationSettings, ExportSettings
from rewho.stages import export


def seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("starter"))
    parser.add_argument("--calibration", type=Path, required=True, help="folder of images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        plain = export.run(ExportSettings(options.model, Path(place, "float")))
        calibration = CalibrationSettings(images=options.calibration)
        small = export.run(ExportSettings(options.model, Path(place, "int8"), int8=True, calibration=calibration))
        files = [ExportedModel.open(folder, "cpu", threads=1) for folder in (plain, small)]
        model = rewho.load(options.model, "cpu", threads=1).model
        height, width = model.input_size
        pixels = np.random.default_rng(1).integers(0, 256, (options.batch, height, width, 3), np.uint8)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        large = torch.rand(options.batch, 3, 256, 128).to(memory_format=torch.channels_last)
        teacher = resnet50(weights=None).eval().to(memory_format=torch.channels_last)
        works: dict[str, Callable[[], object]] = {
            "ResNet-50, torch, 256 x 128": lambda: teacher(large),
            f"the model, torch, {height} x {width}": lambda: model(images),
            "the same, ONNX Runtime": lambda: files[0].session.run(pixels),
            "the same, ONNX Runtime, int8": lambda: files[1].session.run(pixels),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        with torch.inference_mode():
            for number in range(options.rounds + 1):
                for name, work in works.items():
                    taken = seconds(work)
                    if number:  # the first round warms up
                        times[name].append(taken)
    base = statistics.median(times["ResNet-50, torch, 256 x 128"])
    print("| network | ms per image | times as fast as ResNet-50 |\n|---|---|---|")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"| {name} | {1000 * middle / options.batch:.2f} | {base / middle:.1f} |")


if __name__ == "__main__":
    main()
