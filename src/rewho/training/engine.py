"""Devices, processes and precision, from Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import sys
import warnings
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision
from lightning.fabric.strategies.ddp import DDPStrategy
from torch.amp.grad_scaler import GradScaler

from rewho.core.check import UserError, check_choice
from rewho.core.settings import EngineSettings


@dataclass(frozen=True)
class Engine:
    """A launched Fabric and what the checkpoint must know of it.

    Args:
        fabric: Moves modules and batches, wraps for several processes.
        scaler: The loss scaler of fp16; None otherwise.
        precision: 32, bf16 or fp16.
    """

    fabric: Fabric
    scaler: GradScaler | None
    precision: str


def pick_device(name: str) -> torch.device:
    """Return the device called auto, cpu or cuda.

    Raises:
        UserError: cuda was asked for and there is none.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    check_choice("--engine.device", name, ("auto", "cpu", "cuda"))
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError(
            "--engine.device", expected="a CUDA device", got="none that torch can see", fix="Pass --engine.device cpu."
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def launch(settings: EngineSettings, *, broadcast_buffers: bool = True) -> Engine:
    """Start the processes and return this one's engine.

    Args:
        settings: Devices and precision.
        broadcast_buffers: Let the other processes have the first one's buffers at every forward pass. False is for
            networks that see to it themselves that all have the same.

    Raises:
        UserError: Unknown precision or device, or fewer devices than asked for.
    """
    device = pick_device(settings.device)
    precision = check_choice("--engine.precision", settings.precision, ("auto", "32", "bf16", "fp16"))
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
    if device.type == "cuda" and settings.devices > torch.cuda.device_count():
        raise UserError(
            "--engine.devices",
            expected=f"at most the {torch.cuda.device_count()} CUDA devices here",
            got=str(settings.devices),
            fix="Pass a smaller number.",
        )
    if device.type == "cpu":
        _keep_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not settings.deterministic
    torch.set_float32_matmul_precision("high")
    return _fabric(device, settings.devices, precision, broadcast_buffers)


def _keep_memory() -> None:
    """Let the process keep what a step frees for the next one, where the C library is glibc.

    It hands the top of its heap back by itself, and takes every page anew: a twentieth of a small network's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: hand back what is free above so many bytes
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest there is: larger blocks get pages of their own


def _fabric(device: torch.device, devices: int, precision: str, broadcast_buffers: bool) -> Engine:
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")  # advice on workers and launchers, not on the result
    scaler = None
    plugin = None
    if precision == "bf16":
        plugin = MixedPrecision("bf16-mixed", device.type)
    elif precision == "fp16":
        scaler = GradScaler(device.type)
        plugin = MixedPrecision("16-mixed", device.type, scaler)
    strategy = DDPStrategy(broadcast_buffers=broadcast_buffers) if devices > 1 else "auto"
    fabric = Fabric(accelerator=device.type, devices=devices, strategy=strategy, plugins=plugin)
    fabric.launch()
    return Engine(fabric, scaler, precision)
