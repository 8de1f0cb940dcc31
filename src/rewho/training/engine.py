"""Devices, processes and precision, from Lightning Fabric."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision import MixedPrecision
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.strategy import Strategy
from torch.amp.grad_scaler import GradScaler

from rewho.core.check import UserError
from rewho.core.device import pick_device
from rewho.core.runtime import PATIENCE
from rewho.settings import EngineSettings

MAIN_PROCESS = "REWHO_MAIN_PROCESS"
"""Environment variable by which processes that a training starts know the one that started them."""
KILLED = {*range(-64, 0), 1}
"""Exit codes of processes that did not end by themselves: signals, and errors that nobody expects."""
LOST = (
    "one of several processes ended; see its own message, if it left one. Run the same command again: it goes on from "
    "the newest checkpoint."
)


@dataclass(frozen=True)
class Engine:
    """A launched Fabric and how the steps of a training are computed.

    Args:
        fabric: Moves modules and batches, wraps for several processes.
        scaler: The loss scaler of fp16; None otherwise.
        precision: 32, tf32, bf16 or fp16.
        threads: CPU threads for the network.
        deterministic: Whether bit-identical results are asked for on CUDA too.
    """

    fabric: Fabric
    scaler: GradScaler | None
    precision: str
    threads: int
    deterministic: bool

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Hold torch's global options to this engine's while a block runs, and put them back behind it.

        What glibc was told about freed memory stays: it cannot say what held before, and no result depends on it.
        """
        if self.fabric.device.type == "cpu":
            _keep_memory()
        deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
        torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = not self.deterministic
        try:
            with _quiet_lightning(), arithmetic(self.threads, tf32=self.precision != "32"):
                yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark


@contextlib.contextmanager
def arithmetic(threads: int = 0, *, tf32: bool = False) -> Iterator[None]:
    """Compute with so many CPU threads (0: as they are) and float32 as it is, or with TF32 on CUDA, in a block.

    Example:
        >>> with arithmetic():
        ...     torch.get_float32_matmul_precision()
        'highest'
    """
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.backends.cudnn.allow_tf32 = before[2]


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's advice on workers and launchers in a block; it does not concern the result."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def launch(settings: EngineSettings, *, broadcast_buffers: bool = True) -> Engine:
    """Start the processes and return this one's engine; torch's global options change in `Engine.applied` alone.

    Args:
        settings: Devices and precision.
        broadcast_buffers: Let the other processes have the first one's buffers at every forward pass. False is for
            networks that see to it themselves that all have the same.

    Raises:
        UserError: Unknown precision or device, or fewer devices than asked for.
    """
    device = pick_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
    if device.type == "cuda" and settings.devices > torch.cuda.device_count():
        raise UserError(
            "--engine.devices",
            expected=f"at most the {torch.cuda.device_count()} CUDA devices here",
            got=str(settings.devices),
            fix="Pass a smaller number.",
        )
    scaler = GradScaler(device.type) if precision == "fp16" else None
    plugin = None
    if precision in ("bf16", "fp16"):
        plugin = MixedPrecision("bf16-mixed" if scaler is None else "16-mixed", device.type, scaler)
    strategy = "auto"
    if settings.devices > 1:
        strategy = DDPStrategy(broadcast_buffers=broadcast_buffers, timeout=PATIENCE)  # type: ignore[assignment]
    threads, of_openmp = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    with _quiet_lightning():
        fabric = Fabric(accelerator=device.type, devices=settings.devices, strategy=strategy, plugins=plugin)
        if settings.devices > 1 and "RANK" not in os.environ:  # other launchers end all processes by themselves
            if "LOCAL_RANK" not in os.environ:
                os.environ[MAIN_PROCESS] = str(os.getpid())  # the others inherit it
            _watch_others(fabric.strategy, int(os.environ[MAIN_PROCESS]))
        fabric.launch()
    engine = Engine(fabric, scaler, precision, settings.threads or torch.get_num_threads(), settings.deterministic)
    torch.set_num_threads(threads)  # with several processes Lightning shares the cores out
    if of_openmp is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    return engine


def _watch_others(strategy: Strategy, main: int) -> None:
    """End this process within seconds of one that it works with, wherever it is: nothing would answer it any more."""

    def lost() -> bool:
        if os.getpid() != main:
            return os.getppid() != main
        children = getattr(strategy.launcher, "procs", [])
        return any(child.poll() is not None and child.returncode in KILLED for child in children)

    def watch() -> None:
        while not lost():
            time.sleep(1)
        time.sleep(2)  # in which a process that is in an exchange ends by itself, with better words
        print(f"error: {LOST}", file=sys.stderr, flush=True)  # noqa: T201 - whichever process is left says it
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch other processes").start()


def _keep_memory() -> None:
    """Let the process keep what a step frees for the next one, where the C library is glibc.

    It hands the top of its heap back by itself, and takes every page anew: a twentieth of a small network's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: hand back what is free above so many bytes
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest there is: larger blocks get pages of their own
