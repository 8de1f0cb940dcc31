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


def on_a_terminal(code: str, **changes: str) -> str:
    """Return all that a program writes to a terminal, of 100 columns if nothing else is said."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm", **changes}
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


LONG = "warning: " + "/a/long/path" * 20 + " [bold]12[/bold]"
MESSAGE = f"""
from rewho.core.progress import _Bar, Progress, say
bar = Progress("train", 1234, unit="steps")
bar.advance(1000)
_Bar._display.refresh() if _Bar._display else None
say({LONG!r})
print("result")
bar.close()
"""


@pytest.mark.parametrize("columns", ["20", "100"])
def test_messages_above_a_bar_are_not_broken_into_lines(columns):
    """A path that is broken into lines cannot be copied."""
    written = on_a_terminal(MESSAGE, COLUMNS=columns)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert LONG in plain and "result" in plain
    assert "\x1b[1;33mwarning:" in written and "[bold]12[/bold]\r\n" in written, "as it is, and no number in a colour"


def test_a_narrow_terminal_shows_how_far_the_work_is():
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_a_terminal(MESSAGE, COLUMNS="30"))
    assert "train 1000/1234" in plain


@pytest.mark.parametrize("changes", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_terminal_without_colours_gets_none(changes):
    written = on_a_terminal(MESSAGE, **changes)
    colours = re.findall(r"\x1b\[([0-9;]*)m", written)
    assert not [code for code in colours if re.search(r"(^|;)(3|4|9)[0-9](;|$)", code)], colours
    assert LONG in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "TERM" not in changes or "\x1b" not in written


def test_a_terminal_without_control_codes_gets_lines():
    written = on_a_terminal(
        f"import rewho.core.progress as progress\nprogress.PLAIN_LINE_EVERY = 0\n{MESSAGE}", TERM="dumb"
    )
    assert "train: 1,000/1,234 steps (81 %)" in written


def test_results_go_to_a_file_while_a_bar_is_shown(tmp_path):
    code = f"import sys; sys.stdout = open({str(tmp_path / 'out')!r}, 'w')\n{MESSAGE}"
    assert "result" not in on_a_terminal(code)
    assert (tmp_path / "out").read_text() == "result\n"


def test_no_deadline_reads_a_clock_that_may_jump():
    files = list((Path(__file__).parents[2] / "src").rglob("*.py"))
    assert len(files) > 100
    assert not [str(file) for file in files if re.search(r"\btime\.time(_ns)?\(", file.read_text())]
