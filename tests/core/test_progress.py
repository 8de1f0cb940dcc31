"""What a terminal shows of long work: one live display, and a cursor that comes back however the work ends."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

NESTED = """
from rewho.core.progress import Progress, say
outer = Progress("train", 4, unit="steps")
outer.advance(2)
with outer.paused():
    inner = Progress("embed", 8, unit="images")
    inner.advance(3)
    say("epoch 1/2: mAP 50.0")
    inner.close()
outer.advance(2)
{end}
"""


def on_a_terminal(code: str) -> str:
    """Return all that a program writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        written += block
    os.close(ours)
    process.wait()
    return written.decode()


@pytest.mark.parametrize("end", ["outer.close()", "", "raise KeyboardInterrupt"])
def test_two_bars_share_one_display_and_the_cursor_comes_back(end):
    written = on_a_terminal(NESTED.format(end=end))
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1, "one display, hidden and shown once"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    lines = re.split(r"[\r\n]+", plain)
    assert not any("train" in line and "embed" in line for line in lines), "two bars on one line"
    assert any(line.strip() == "epoch 1/2: mAP 50.0" for line in lines)
    assert any("embed" in line and "images" in line for line in lines)


def test_no_deadline_reads_a_clock_that_may_jump():
    files = list((Path(__file__).parents[2] / "src").rglob("*.py"))
    assert len(files) > 100
    assert not [str(file) for file in files if re.search(r"\btime\.time(_ns)?\(", file.read_text())]
