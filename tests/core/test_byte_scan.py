"""The search for pieces of what was erased gives up no lock of the process that asks for it."""

import os

import numpy as np
import pytest

from rewho.core.byte_scan import Pieces, scan_apart, scan_folder
from rewho.core.check import UserError
from rewho.core.lock import Lock


def is_free(path) -> bool:
    """Return whether another process could take a lock."""
    child = os.fork()
    if child == 0:
        try:
            with Lock(path, "folder"):
                os._exit(0)
        except UserError:
            os._exit(1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("name", "scan"), [("db.sqlite", "apart"), (".erasing.lock", "apart"), (".lock", "here")])
def test_locks_are_kept(tmp_path, name, scan):
    content = np.random.default_rng(1).bytes(200)
    (tmp_path / "left.bin").write_bytes(b"x" * 50 + content)
    with Lock(tmp_path / name, "folder"):
        found = scan_apart(tmp_path, [content]) if scan == "apart" else scan_folder(tmp_path, Pieces([content]))
        assert [file for file, _ in found.found] == ["left.bin"] * found.windows
        assert not is_free(tmp_path / name)
    assert is_free(tmp_path / name)


def test_contents_of_any_length_reach_the_other_process(tmp_path):
    contents = [np.random.default_rng(number).bytes(length) for number, length in enumerate((1, 40, 5000, 70_000))]
    (tmp_path / "all.bin").write_bytes(b"".join(contents))
    (tmp_path / "one.bin").write_bytes(contents[2][100:300])
    apart = scan_apart(tmp_path, contents)
    assert apart == scan_folder(tmp_path, Pieces(contents))
    assert {file for file, _ in apart.found} == {"all.bin", "one.bin"}
    assert scan_folder(tmp_path, Pieces(contents), skip=["all.bin"]).files == 1
