"""The command line answers at once, explains itself, and shows no traceback for a user's mistake."""

import subprocess
import sys

import pytest

from rewho.cli import COMMANDS, _explain_paths, main
from rewho.core.check import UserError

HELP = """
import sys
from rewho.cli import COMMANDS, main

codes = [main(words) for words in (["--help"], *([name, "--help"] for name in COMMANDS))]
print(codes, sorted({"torch", "cv2", "numpy", "timm"} & set(sys.modules)))
"""


def help_of_all_commands(*options):
    done = subprocess.run([sys.executable, *options, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_of_every_command_imports_nothing_heavy():
    """What is not imported takes no time; seconds would depend on the machine."""
    text = help_of_all_commands()
    assert text.endswith(f"{[0] * (1 + len(COMMANDS))} []\n")
    assert all(f"rewho {name}: " in text for name in COMMANDS)


def test_help_is_the_same_where_docstrings_are_dropped():
    assert help_of_all_commands("-OO") == help_of_all_commands()


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["train"], "rewho train [DATA] [--option VALUE ...]"),
        (["pretrain"], "rewho pretrain [DATA ...] [--option VALUE ...]"),
        (["embed"], "rewho embed [IMAGES] [--option VALUE ...]"),
        (["crops"], "rewho crops [ACTION] [FOLDERS ...] [--option VALUE ...]"),
        (["crops", "merge"], "rewho crops merge [FOLDERS ...] [--option VALUE ...]"),
    ],
)
def test_help_says_what_values_without_a_name_are_for(arguments, usage, capsys):
    assert main([*arguments, "--help"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"usage: {usage}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "rewho train"),
        (["train", "--epochz", "3"], "nearest: epochs"),
        (["train", "--epochs", "x"], "a whole number"),
        (["compare", "a.jpg"], "two or more"),
        (["evaluate"], "--model"),
    ],
)
def test_mistakes_end_with_two_and_no_traceback(arguments, says, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err and "Fix:" in printed.err and "Traceback" not in printed.err
    assert printed.out == ""


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rewho ")


def test_interrupted_work_names_the_command_to_go_on_with(monkeypatch, capsys):
    from rewho import cli
    from rewho.core.runtime import Interrupted

    def stop(_words):
        raise Interrupted("step 3 of 9 is saved in runs/x")

    monkeypatch.setattr(cli, "_run", stop)
    assert main(["train", "--out", "runs/x"]) == 75
    assert "rewho train --out runs/x" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2
    told = capsys.readouterr().err
    assert "error: " in told
    assert "Fix: " in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("path", "named", "proposed"),
    [
        ("runs/mine", "runs/mine", True),
        ("runs", "runs", True),
        ("runs/mine-2/run.json", "runs/mine-2/run.json", False),
        ("runs/mine-2", "runs/mine-2", True),
        ("runs/mine/.aside-77-command.json", "runs/mine", True),
        ("people/query", "people/query", False),
        ("people/.aside-77-a/b", "people", False),
    ],
)
def test_another_out_is_proposed_for_what_is_written_there_alone(tmp_path, path, named, proposed):
    """Data that may not be read are not read with another --out either."""
    with pytest.raises(UserError) as error, _explain_paths(tmp_path / "runs/mine"):
        raise PermissionError(13, "Permission denied", str(tmp_path / path))
    assert error.value.what == str(tmp_path / named) and ("--out" in error.value.fix) == proposed
    with pytest.raises(UserError, match=r"Check the path and its permissions\.$"), _explain_paths(None):
        raise PermissionError(13, "Permission denied", str(tmp_path / path))


def test_a_full_disk_is_no_question_of_permissions(tmp_path):
    with pytest.raises(UserError, match="No space left on device") as error, _explain_paths(tmp_path / "out"):
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "log.jsonl"))
    assert error.value.fix.startswith("Free some space") and "permissions" not in str(error.value)
    with pytest.raises(UserError) as error, _explain_paths(None):
        raise OSError(28, "No space left on device", "model/weights", None, str(tmp_path / ".aside-3-g" / "weights"))
    assert error.value.what == str(tmp_path), "where it was copied to"
