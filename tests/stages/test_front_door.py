"""The command line from outside: the first line, folders by default, finished work, recipes by name, completion."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rewho.calls import fill_settings
from rewho.cli import COMMANDS, main
from rewho.core.invocation import read_invocation
from rewho.embedding.own_split import choose_split
from rewho.settings import EvaluateDataSettings, TrainSettings
from rewho.settings.recipe import find_recipe, list_recipes

QUICK = "--init none --input_size 64 32 --embedding 16 --epochs 1 --steps_per_epoch 1 --evaluate_every -1 "
QUICK += "--device cpu --workers 0 --batch 8"
LIGHT = """
import sys
from rewho.cli import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "cv2", "numpy", "timm", "lightning"} & set(sys.modules)))
"""


def light(*words, cwd=None):
    """Run a command in a process of its own; return its lines, of which the last has the code and heavy imports."""
    done = subprocess.run([sys.executable, "-c", LIGHT, *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture
def place(tmp_path, monkeypatch, people):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").symlink_to(people)
    return tmp_path


def test_runs_without_out_are_numbered_resumed_and_answered_without_heavy_imports(place, capsys):
    words = ["train", "people", *QUICK.split()]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "train: writes to runs/train (new)"
    assert said.out == "runs/train\n"
    assert main([*words, "--lr", "0.1"]) == 0
    assert "train: writes to runs/train-2 (new; runs/train has other settings" in capsys.readouterr().err
    out, err = light(*words, cwd=place)
    assert err == ["runs/train is finished; nothing to do"]
    assert out == ["runs/train", "0 []"]
    os.utime("runs/train/model.safetensors", ns=(1, 1))  # the stage reads the bytes, and finds them as they were
    assert main([*words, "--out", "runs/train"]) == 0
    assert "runs/train is finished; nothing to do" in capsys.readouterr().err
    assert sorted(file.name for file in Path("runs").iterdir()) == ["train", "train-2"]


def test_an_interrupted_run_without_out_is_resumed_by_the_same_command(place, capsys):
    words = ["train", "people", *QUICK.replace("--epochs 1", "--epochs 2").split()]
    assert main(words) == 0
    run = Path("runs/train")
    (run / "manifest.json").unlink()
    record = read_invocation(run)
    (run / "command.json").write_text(json.dumps({**record, "finished": None}))
    shutil.rmtree(sorted((run / "checkpoints").glob("step-*"))[-1])
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().err
    assert said.startswith("train: writes to runs/train (resuming)\n") and "resum" in said.partition("\n")[2]
    assert (run / "manifest.json").is_file() and not Path("runs/train-2").exists()


def test_a_command_that_fails_leaves_no_folder(place, capsys):
    assert main(["train", "nowhere"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "train: writes to runs/train (new)"
    assert not Path("runs/train").exists()


def test_recipes_are_found_by_name_from_anywhere(place, capsys):
    assert main(["train", "people", "--recipe", "fd/s-fast", "--print_config"]) == 0
    assert "learning_rate: 0.005" in capsys.readouterr().out
    assert find_recipe(Path("recipes/fd/s-fast.yaml")) == find_recipe(Path("fd/s-fast"))
    assert main(["train", "people", "--recipe", "fd/s-fats"]) == 2
    assert "Did you mean fd/s-fast?" in capsys.readouterr().err
    assert main(["train", "people", "--recipe", "s-fast"]) == 2
    assert "Did you mean fd/s-fast?" in capsys.readouterr().err
    assert main(["distill", "people", "--recipe", "fd/s-fast"]) == 2
    assert "`rewho train" in capsys.readouterr().err


def test_a_configuration_of_another_program_is_named_as_such(place, capsys):
    Path("bot.yaml").write_text("MODEL:\n  META_ARCHITECTURE: Baseline\nSOLVER:\n  MAX_EPOCH: 60\n")
    assert main(["train", "people", "--config-file", "bot.yaml"]) == 2
    assert "the configuration of another program, with MODEL, SOLVER" in capsys.readouterr().err
    Path("im.yaml").write_text("model:\n  name: resnet50\ndata:\n  root: x\n  height: 256\ntrain:\n  optim: adam\n")
    assert main(["train", "people", "--config-file", "im.yaml"]) == 2
    assert "of another program, with model.name, data.height, train.optim" in capsys.readouterr().err


def test_recipes_are_listed_with_a_line_each():
    out, err = light("recipes")
    assert err == [] and out[-1] == "0 []"
    for name in list_recipes():
        assert sum(line.split(" ")[0] == name for line in out) == 1
    out, _ = light("recipes", "distill", "fast")
    assert [line.split()[0] for line in out[:-3]] == ["fd/distill-fast"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_starts_nothing_heavy(shell):
    out, err = light("completion", shell)
    assert err == [] and out[-1] == "0 []"
    text = "\n".join(out[:-1])
    assert all(f" {name}" in text or f"'{name}:" in text for name in COMMANDS)
    if shutil.which(shell):
        flag = "--no-execute" if shell == "fish" else "-n"
        subprocess.run([shell, flag], input=text, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], {"train"}),
        (["train", "--lear"], set()),
        (["train", "--lr"], {"--lr"}),
        (["train", "--optimizer.learn"], {"--optimizer.learning_rate"}),
        (["train", "--optimizer", "s"], {"sgd"}),
        (["train", "--recipe", "fd/s-f"], {"fd/s-fast"}),
        (["crops", "ver"], {"verify"}),
        (["evaluate", "--data.hold"], {"--data.hold_out"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(tmp_path, words, expected):
    script = tmp_path / "rewho.bash"
    if not script.exists():
        from rewho.settings.commands import find_commands
        from rewho.settings.completion import write_script

        script.write_text(write_script("bash", find_commands(), tuple(list_recipes())))
    quoted = " ".join(f"'{word}'" for word in ["rewho", *words])
    line = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _rewho; "
    line += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected


def test_a_batch_larger_than_the_data_becomes_the_datas_size(place, capsys):
    words = ["train", "people", *QUICK.replace("--batch 8", "--batch 4096").split()]
    assert main([*words, "--out", "images"]) == 0
    note = re.search(
        r"note: a batch of 4,096 is more than the (\d+) training images; each batch has \1", capsys.readouterr().err
    )
    assert note
    assert main([*words, "--out", "people-by-images", "--sampler", "identities", "--accumulate", "2"]) == 0
    assert "is more than 8 identities x 4 images; each batch has 32" in capsys.readouterr().err


def test_the_architecture_comes_from_the_first_weights_unless_given(place, capsys):
    small = "--epochs 1 --steps_per_epoch 1 --evaluate_every -1 --device cpu --workers 0 --batch 8"
    assert main(["train", "people", *QUICK.split(), "--pooling", "gap", "--head", "bn", "--out", "first"]) == 0
    capsys.readouterr()
    assert main(["train", "people", "--init", "first", *small.split(), "--out", "second"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"taken from first: .*input_size 64 32.*pooling gap.*head bn", said)
    made = json.loads(Path("second/model.json").read_text())
    assert made["input_size"] == [64, 32] and made["architecture"]["pooling"] == "gap"
    given = ["--input_size", "32", "16", "--pooling", "gem"]
    assert main(["train", "people", "--init", "first", *given, "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["model"]
    assert (printed["input_size"], printed["pooling"], printed["head"]) == ([32, 16], "gem", "bn")
    assert fill_settings(TrainSettings, ("people",), {"init": "first"}).model.head == "bn"
    shutil.rmtree("first")
    assert main(["train", "people", "--init", "first", *small.split(), "--out", "second"]) == 0, "a finished run"


def test_an_evaluation_takes_the_split_of_the_models_training(place, capsys):
    for name, held in (("two", "2"), ("three", "3")):
        assert main(["train", "people", *QUICK.split(), "--hold_out", held, "--split_seed", "7", "--out", name]) == 0
    capsys.readouterr()
    quiet = ["--device", "cpu", "--sheets", "0", "--attention", "0", "--workers", "0"]
    assert main(["evaluate", "two", "--data", "people", *quiet]) == 0
    said = capsys.readouterr().err
    assert "note: people: --hold_out 2, --split_seed 7, as in its training (two)" in said
    assert "flatters" not in said
    assert main(["evaluate", "two", "three", "--data", "people", *quiet]) == 2
    said = capsys.readouterr().err
    assert "--hold_out" in said and "two with 2, three with 3" in said
    for file in ("manifest.json", "run.json"):
        Path("two", file).unlink()  # the model folder alone
    assert choose_split([Path("two")], EvaluateDataSettings(), Path("people")).hold_out == 2
    assert choose_split([Path("two")], EvaluateDataSettings(hold_out=0), Path("people")).hold_out == 0
    assert choose_split([Path("two")], EvaluateDataSettings(), Path("others")).hold_out == 0


def test_more_epochs_continue_a_finished_run_exactly(place, capsys):
    words = ["train", "people", *QUICK.replace("--epochs 1", "").split(), "--schedule", "constant"]
    assert main([*words, "--epochs", "2", "--out", "whole"]) == 0
    assert main([*words, "--epochs", "1"]) == 0
    capsys.readouterr()
    assert main([*words, "--epochs", "2"]) == 0
    said = capsys.readouterr().err
    assert "writes to runs/train (continuing after 1 epoch)" in said
    assert "has 1 finished epochs; continuing to 2" in said and "epoch 2/2: total" in said
    assert re.search(r"training accuracy \d+\.\d %, learning rate 0\.0025", said)
    assert Path("runs/train/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    record = json.loads(Path("runs/train/manifest.json").read_text())
    assert record["continued"] == [{"after_epochs": 1, "to_epochs": 2, "after_steps": 1}]
    assert main([*words, "--epochs", "1", "--out", "runs/train"]) == 2
    assert "no fewer epochs than the run has done, got 2 finished epochs" in capsys.readouterr().err
    assert main([*words, "--epochs", "2"]) == 0, "still the finished run"
    assert capsys.readouterr().err == "runs/train is finished; nothing to do\n"


def test_a_schedule_over_all_epochs_is_not_continued(place, capsys):
    words = ["train", "people", *QUICK.split(), "--schedule", "cosine", "--out", "cosine"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--epochs", "2"]) == 2
    said = capsys.readouterr().err
    assert "a learning rate that falls over the whole training" in said and "--init cosine" in said
    assert main(words) == 0 and "finished; nothing to do" in capsys.readouterr().err


def test_lists_with_absolute_paths_name_their_folder(tmp_path, capsys):
    from rewho.data.datasets import read_settings
    from rewho.settings import DataSettings

    images = tmp_path / "images"
    for name in ("a/1.png", "b/2.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(b"x")
    file = tmp_path / "lists" / "all.csv"
    file.parent.mkdir()
    file.write_text(f"path,person\n{images}/a/1.png,a\n{images}/b/2.png,b\n")
    assert main(["train", str(file), "--out", str(tmp_path / "out")]) == 2
    assert f"--data.image_root {images}." in capsys.readouterr().err, "the folder above all, not above the first"
    table = read_settings(DataSettings(root=file, image_root=images))
    assert table.paths == ("a/1.png", "b/2.png") and table.root == images
    beside = images / "all.csv"
    beside.write_text(file.read_text())
    assert read_settings(DataSettings(root=beside)).paths == table.paths
    file.write_text(f"path,person\n{images}/../lists/all.csv,a\nb/2.png,b\n")
    assert main(["train", str(file), "--data.image_root", str(images)]) == 2
    assert "inside" in capsys.readouterr().err


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_errors_are_coloured_on_a_terminal_only(monkeypatch, capsys, variable, coloured):
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("error: command")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("\x1b[1;31merror:\x1b[0m command" if coloured else "error: command")
