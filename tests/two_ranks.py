"""Two processes of a training, as torchrun would start them, forked from one that has imported what they need.

Spawned ones would each import PyTorch anew; forked from the tests' own process, they would have its threads' locks.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch

IMPORTED = ["pytest", "torch.distributed", "rewho.training.loop", "rewho.data.batches", "rewho.tasks.distillation"]


def start_method() -> str:
    """Return the method, after telling its server what to import."""
    multiprocessing.set_forkserver_preload(IMPORTED)
    return "forkserver"


def run_ranks(work: Callable[..., Any], *given: Any) -> None:
    """Run `work(rank, port, *given)` in two processes to the end; raise what one of them raised."""
    torch.multiprocessing.start_processes(work, (free_port(), *given), nprocs=2, start_method=start_method())


def free_port() -> int:
    """Return a port that no one listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def be_rank(rank: int, port: int) -> None:
    """Set what torchrun sets; Fabric then joins the processes instead of starting more."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    torch.set_num_threads(1)
