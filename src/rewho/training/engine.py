"""Devices, processes and precision, from Lightning Fabric."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch.amp.grad_scaler import GradScaler

from rewho.core import runtime
from rewho.core.check import UserError
from rewho.core.device import arithmetic, pick_device
from rewho.core.runtime import set_allocator
from rewho.settings import EngineSettings

MAIN_PROCESS = "REWHO_MAIN_PROCESS"
"""Environment variable with the id of the process that started a training's others."""
KILLED = {*range(-64, 0), 1}
"""Exit codes of killed or crashed processes: signals, and unexpected errors."""
LINGER = 10.0  # seconds in which the other processes end after the one that started them
LOST = (
    "one of several processes ended; see its own message, if any. Run the same command again, which resumes from the "
    "newest checkpoint."
)


@dataclass(frozen=True)
class Engine:
    """A launched Fabric, with precision and threads.

    Args:
        fabric: Moves modules and batches, wraps for several processes.
        scaler: The loss scaler of fp16; None otherwise.
        precision: 32, tf32, bf16 or fp16.
        threads: CPU threads for the network.
        deterministic: Use bit-identical algorithms on CUDA too.
    """

    fabric: Fabric
    scaler: GradScaler | None
    precision: str
    threads: int
    deterministic: bool

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Set torch's global options to this engine's while a block runs, and restore them.

        The setting of glibc's allocator stays: it cannot be read back, and no result depends on it.
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
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's advice on workers and launchers while a block runs; no result depends on it."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning_fabric.*")
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)


def launch(settings: EngineSettings, *, broadcast_buffers: bool = True) -> Engine:
    """Start the processes and return this one's engine; only `Engine.applied` changes torch's global options.

    Args:
        settings: Devices and precision.
        broadcast_buffers: Copy the first process's buffers to the others at every forward pass. False for networks
            that synchronise them themselves.
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
        strategy = DDPStrategy(broadcast_buffers=broadcast_buffers, timeout=runtime.ANSWER)  # type: ignore[assignment]
    threads, of_openmp = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    with _quiet_lightning():
        fabric = Fabric(accelerator=device.type, devices=settings.devices, strategy=strategy, plugins=plugin)
        if settings.devices > 1 and "RANK" not in os.environ:  # other launchers end all processes
            if "LOCAL_RANK" not in os.environ:
                os.environ[MAIN_PROCESS] = str(os.getpid())  # inherited by the others
            others = _watch_others(fabric.strategy, int(os.environ[MAIN_PROCESS]))
            atexit.register(_end_others, others)
        if settings.devices > 1:
            runtime.connect_restarted()
        fabric.launch()
    engine = Engine(fabric, scaler, precision, settings.threads or torch.get_num_threads(), settings.deterministic)
    torch.set_num_threads(threads)  # with several processes Lightning divides the cores among them
    if of_openmp is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    return engine


def _watch_others(strategy: Strategy, main: int) -> list[subprocess.Popen[bytes]]:
    """End this process within seconds of another one's end, wherever it is: its next exchange would hang.

    Returns:
        The processes that this one starts, from the next second on.
    """
    others: list[subprocess.Popen[bytes]] = []

    def lost() -> bool:
        if os.getpid() != main:
            return os.getppid() != main
        _take_over(strategy, others)
        return any(child.poll() is not None and child.returncode in KILLED for child in others)

    def watch() -> None:
        while not lost():
            time.sleep(0.5)
        time.sleep(2)  # a process in an exchange ends by itself meanwhile, with a better message
        code = exit_code([child.poll() for child in others])
        print(f"{'error' if code == 1 else 'stopped'}: {LOST}", file=sys.stderr, flush=True)  # noqa: T201 - any remaining process prints it
        os._exit(code)

    threading.Thread(target=watch, daemon=True, name="watch other processes").start()
    return others


def _take_over(strategy: Strategy, others: list[subprocess.Popen[bytes]]) -> None:
    """Move the processes that Lightning started to a list of ours.

    Lightning's own thread, which reads its list every five seconds, kills this process without a word where one ended.
    """
    started: list[subprocess.Popen[bytes]] = getattr(strategy.launcher, "procs", [])
    others += started
    started.clear()


def exit_code(codes: Iterable[int | None]) -> int:
    """Return the exit code after other processes ended with `codes`; None runs.

    A process that SIGTERM ends before it can note the request was asked to stop, by a scheduler for instance.

    Example:
        >>> exit_code([-15, None]), exit_code([-9, -15])
        (75, 1)
    """
    ended = [code for code in codes if code]
    return runtime.EXIT_INTERRUPTED if ended and set(ended) == {-signal.SIGTERM} else 1


def _end_others(others: Iterable[subprocess.Popen[bytes]]) -> None:
    """End the processes that this one started and that hang: they have nothing to do after its end."""
    until = time.monotonic() + LINGER
    for process in others:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _keep_memory() -> None:
    """Tell glibc to keep freed memory between steps.

    Returning it and faulting pages back in costs about 5 % of a small network's step.
    """
    set_allocator(trim=2**31 - 1, mapped=2**25)  # the largest possible
