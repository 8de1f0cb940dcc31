"""Fixtures shared by all tests, and how the whole suite is shared out to the processor's cores."""

import os
from pathlib import Path

import pytest

# One thread each, before torch is imported: small networks compute no faster with more, and sums stay in one order.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
MOST_PROCESSES = 4  # each holds about 1 GB
WHOLE = {"not slow and not guide": "loadfile", "guide": "worksteal"}  # by mark: how its tests are shared out


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in one process per core; a part of it, and whatever is debugged, in this process."""
    option = config.option
    alone = hasattr(config, "workerinput") or getattr(option, "numprocesses", 0) is not None or option.usepdb
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS and option.markexpr in WHOLE and not option.keyword
    if whole and not alone and not option.collectonly:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        option.numprocesses, option.dist = min(MOST_PROCESSES, cores), WHOLE[option.markexpr]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden values and real data that may lie beside a developer's checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("golden values and real data are not beside this checkout (a folder 'shared' next to it)")
    return folder
