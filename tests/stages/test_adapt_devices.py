"""Two processes adapt as one does, up to rounding."""

import socket
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as processes
from cut_runs import last
from test_adapt_stage import crowd, settings  # noqa: F401 - a fixture

from rewho.settings import AdaptSettings, EngineSettings, ModelSettings, OptimizerSettings, SourceSettings
from rewho.stages import adapt
from rewho.training.log import read_log

BOUND = 1e-3
"""Largest difference of a weight, a statistic or a vector of the memory after four steps of SGD."""


def _adapt(rank: int, given: AdaptSettings, port: int) -> None:
    import os

    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ |= {"NODE_RANK": "0", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    adapt.run(given)


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["source", "calibration"])
def test_two_processes_adapt_as_one(crowd, people, tmp_path, beside):  # noqa: F811
    model = ModelSettings(
        backbone="resnet18", pooling="gap", head="bn", input_size=(64, 32), pretrained="none", extra_bn="no"
    )
    optimizer = OptimizerSettings(kind="sgd", learning_rate=0.003)
    changes = {"source": SourceSettings(root=people, workers=0)} if beside == "source" else {"calibrate": True}
    one = settings(crowd, tmp_path / "one", model=model, optimizer=optimizer, **changes)
    adapt.run(one)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = EngineSettings(device="cpu", precision="32", devices=2)
    two = replace(one, out=tmp_path / "two", engine=engine)
    processes.spawn(_adapt, (two, port), nprocs=2)
    for log_one, log_two in zip(read_log(one.out), read_log(two.out), strict=True):
        assert log_one.keys() == log_two.keys()
        for name in ("total", "source", "target", "epoch_clusters"):
            if name in log_one:
                assert log_two[name] == pytest.approx(log_one[name], rel=0.02)
    states = [last(run.out) for run in (one, two)]
    for group in ("parameters", "buffers"):
        for name, tensor in states[0][group].items():
            if tensor.dtype.is_floating_point:
                assert torch.allclose(tensor, states[1][group][name], atol=BOUND, rtol=0.01), name
    labels = [state["buffers"]["memory.labels"] for state in states]
    assert (labels[0] == labels[1]).all()
