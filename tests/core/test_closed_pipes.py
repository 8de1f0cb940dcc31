"""What happens when nobody reads what is printed: the work is finished, and the exit code is that of the work."""

import contextlib
import io
import os
import sys

import pytest

from rewho.cli import main
from rewho.core.check import UserError
from rewho.core.progress import say
from rewho.core.runtime import Interrupted
from rewho.stages import demo


@contextlib.contextmanager
def nobody():
    """Let the readers of standard output and error leave."""
    before, streams = (sys.stdout, sys.stderr), []
    for _ in before:
        reading, writing = os.pipe()
        os.close(reading)
        streams.append(os.fdopen(writing, "w", buffering=1))
    sys.stdout, sys.stderr = streams
    try:
        yield
        assert [sys.stdout, sys.stderr] == streams
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.close()


def talk(settings):
    for number in range(3000):
        print(f"line {number}")
        say(f"line {number}")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (None, 0),
        (UserError("a", expected="b", got="c", fix="d"), 2),
        (Interrupted("step 3"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_work_is_finished_and_its_exit_code_kept(monkeypatch, tmp_path, ending, code):
    def run(settings):
        talk(settings)
        (tmp_path / "work").touch()
        if ending is not None:
            raise ending
        return tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run", run)
    with nobody():
        assert main(["demo"]) == code
    assert (tmp_path / "work").exists()


def test_help_survives_too():
    with nobody():
        assert main(["train", "--help"]) == main(["--help"]) == main(["--version"]) == 0


def test_a_broken_pipe_within_the_work_is_no_success(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(settings):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(demo, "run", run)
    with pytest.raises(BrokenPipeError):
        main(["demo"])


def test_a_full_disk_behind_standard_output_is_an_error(monkeypatch, capsys):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--version"]) == 2
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert "standard output" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_are_no_text_can_be_printed(monkeypatch, tmp_path, encoding):
    monkeypatch.chdir(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(demo, "run", lambda settings: "a\udcff.jpg")
    assert main(["demo"]) == 0
    stream.seek(0)
    assert stream.read() == "a\\udcff.jpg\n"
