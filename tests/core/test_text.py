"""Names from outside do nothing where they leave the program: on a terminal, in a page, in a spreadsheet."""

import csv
import io

import pytest

from rewho.core.check import UserError
from rewho.core.progress import Progress, say, show
from rewho.core.text import csv_table, html_text, printable

ESCAPES = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "\x08",
    "\x7f",
    "\u202egpj.exe",
    "\u2028",
    "\udcff",
    "\x00",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_escape_sequences_are_written_out(text, capsys):
    say(f"reading {text}")
    show(text)
    say(f"error: {UserError(text, expected='a name', got=repr(text), fix=text)}")
    progress = Progress(text, 3)
    progress._said = -1e9
    progress.advance(1, text)
    written = "".join(capsys.readouterr())
    written.encode()
    assert all(letter.isprintable() or letter == "\n" for letter in written)
    assert printable(html_text(text)) == html_text(text)


def test_text_of_any_script_lines_and_tabs_stay():
    text = "Zoë 名前 é\n\t→ 😀 (95 %: 1 – 2)"
    assert printable(text) == text


def test_markup_is_escaped():
    assert html_text("</title><script>") == "&lt;/title&gt;&lt;script&gt;"


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_formula_is_text_in_every_column(name):
    (row,) = csv.reader(io.StringIO(csv_table([["a.jpg", name]]).decode(), newline=""))
    assert row == ["a.jpg", printable(f"'{name}")]


def test_numbers_stay_numbers():
    cells = [-1, -0.5, "-1", "+2.5", "-1e-3", float("nan"), None, True, "a=b", "1-2", ""]
    (row,) = csv.reader(io.StringIO(csv_table([cells]).decode()))
    assert row == ["-1", "-0.5", "-1", "+2.5", "-1e-3", "nan", "", "True", "a=b", "1-2", ""]


def test_a_name_that_is_not_utf_8_is_written_out():
    assert csv_table([["a\udcff.jpg"]]) == b"a\\udcff.jpg\n"
