"""Options as people type them: short names, names of other programs, words without a name; a guess only where near."""

import re
from pathlib import Path

import pytest
import yaml

from rewho.cli import COMMANDS, main
from rewho.core.check import UserError, nearest
from rewho.settings.aliases import ALIASES, ANSWERS, COMMAND_ANSWERS
from rewho.settings.command_line import parse
from rewho.settings.fields import options_of
from rewho.settings.help import MOST, choose_options, help_text
from rewho.settings.names import find_options, shorten
from rewho.settings.recipe import list_recipes


def got(command, words):
    settings = parse(COMMANDS[command], words.split())
    assert settings is not None
    return settings


def refusal(command, words):
    with pytest.raises(UserError) as error:
        got(command, words)
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("train people", "data.root", Path("people")),
        ("train --epochs 3 people --lr 0.1", "data.root", Path("people")),
        ("train --data people", "data.root", Path("people")),
        ("teachers people", "data.root", Path("people")),
        ("distill --student s people", "data.root", Path("people")),
        ("evaluate m n --data d", "model", (Path("m"), Path("n"))),
        ("evaluate --rerank m --data d", "model", (Path("m"),)),
        ("evaluate --data d e --model m", "data.root", (Path("d"), Path("e"))),
        ("evaluate m --data d --data.hold_out 3", "data.hold_out", 3),
        ("export m", "model", Path("m")),
        ("export --flip m", "model", Path("m")),
        ("embed --model m in", "images", Path("in")),
        ("compare --model m a.jpg b.jpg", "images", (Path("a.jpg"), Path("b.jpg"))),
        ("pretrain a b --batch 8", "data.root", (Path("a"), Path("b"))),
        ("pretrain a --workers 3", "data.workers", 3),
        ("pretrain a --probe p --share 0.5", "data.share", 0.5),
        ("pretrain a --probe p", "probe.root", Path("p")),
        ("pretrain a --hold_out 5", "probe.hold_out", 5),
        ("crop a.mp4 --every 5 b.mp4", "videos", (Path("a.mp4"), Path("b.mp4"))),
        ("crop --device cuda a.mp4", "detector.device", "cuda"),
        ("crop --device cuda a.mp4", "pose.device", "cuda"),
        ("crop a.mp4 --detector hog --pose none", "detector.kind", "hog"),
        ("demo few-labels", "chapter", "few-labels"),
        ("train d --optimizer adam", "optimizer.kind", "adam"),
        ("train d --batch 8", "sampler.batch", 8),
        ("train d --workers 8", "data.workers", 8),
        ("train d --device cpu", "engine.device", "cpu"),
        ("train d --input_size 64 32", "model.input_size", (64, 32)),
        ("train d --warmup-epochs 2", "optimizer.warmup_epochs", 2.0),
        ("train -- -odd-name", "data.root", Path("-odd-name")),
    ],
)
def test_options_as_people_type_them(words, option, value):
    command, _, rest = words.partition(" ")
    settings = got(command, rest)
    for part in option.split("."):
        settings = getattr(settings, part)
    assert settings == value


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("--batch-size 8", "sampler.batch", 8),
        ("-b 8", "sampler.batch", 8),
        ("--arch resnet18", "model.backbone", "resnet18"),
        ("-a resnet18", "model.backbone", "resnet18"),
        ("--save-dir x", "out", Path("x")),
        ("--output x", "out", Path("x")),
        ("--lr0 0.5", "optimizer.learning_rate", 0.5),
        ("--wd 0.5", "optimizer.weight_decay", 0.5),
        ("--weight-decay 0.5", "optimizer.weight_decay", 0.5),
        ("--num-workers 1", "data.workers", 1),
        ("-j 1", "data.workers", 1),
        ("--max-epochs 3", "epochs", 3),
        ("--num-gpus 2", "engine.devices", 2),
        ("--num-instances 2", "sampler.images_per_identity", 2),
        ("--opt adamw", "optimizer.kind", "adamw"),
        ("--sched cosine", "optimizer.schedule", "cosine"),
        ("--smoothing 0.1", "loss.label_smoothing", 0.1),
        ("--reprob 0.2", "augment.erase", 0.2),
        ("--fliplr 0.2", "augment.flip", 0.2),
        ("--weights none", "model.pretrained", "none"),
        ("--initial-checkpoint x", "model.pretrained", "x"),
        ("--eval-period 5", "evaluate_every", 5),
        ("--data-dir x", "data.root", Path("x")),
    ],
)
def test_names_of_other_programs_that_mean_the_same_work(words, option, value):
    settings = got("train", words)
    for part in option.split("."):
        settings = getattr(settings, part)
    assert settings == value


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("train", "--imgsz 256", "--input_size 256 128"),
        ("train", "--project runs --name mine", "--out runs/NAME"),
        ("train", "--eval-only", "`rewho evaluate MODEL --data DATA`"),
        ("train", "-v", "--quiet"),
        ("train", "--amp", "--precision bf16"),
        ("train", "--gpu 0", "CUDA_VISIBLE_DEVICES=0"),
        ("train", "--patience 5", "best/"),
        ("train", "--model resnet50", "--model.backbone"),
        ("train", "d --resume runs/x", "the same command resumes"),
        ("train", "people epochs=3", "Write it as --epochs 3."),
        ("train", "people SOLVER.BASE_LR 0.1", "Write it as --lr 0.1."),
        ("train", "people MODEL.BACKBONE.DEPTH 50x", "--backbone resnet50"),
        ("train", "people MODEL.META_ARCHITECTURE Baseline", "coming-from.md"),
        ("train", "people --stepsize 20", "--step_epochs 20 40"),
        ("train", "people --gpu-devices 0", "CUDA_VISIBLE_DEVICES=0"),
        ("train", "people --sources market1501", "--data FOLDER"),
        ("train", "people --open-layers classifier", "--freeze_epochs 5"),
        ("train", "people --train-sampler RandomIdentitySampler", "--sampler identities"),
        ("train", "people --SOLVER.BASE_LR 0.1", "Write it as --lr 0.1."),
        ("train", "people --SOLVER.BASE_LR=0.1", "Write it as --lr 0.1."),
        ("train", "people --train.optim adam", "Write it as --optimizer adam."),
        ("train", "people SOLVER.OPT LAMB", "--optimizer sgd, adam or adamw."),
        ("train", "people data.height 256", "--input_size 256 128"),
        ("train", "people data.sources market1501", "--data FOLDER"),
        ("train", "people test.batch_size 100", "`rewho evaluate`"),
        ("train", "people DATASETS.UNHEARD x", "coming-from.md"),
    ],
)
def test_other_names_are_answered_with_ours(command, words, says):
    assert says in refusal(command, words)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.OPT", "Adam"),
        ("SOLVER.OPT", "SGD"),
        ("SOLVER.WEIGHT_DECAY", "0.0005"),
        ("SOLVER.MAX_EPOCH", "60"),
        ("SOLVER.IMS_PER_BATCH", "64"),
        ("MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"),
        ("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP"),
        ("MODEL.HEADS.CLS_LAYER", "CircleSoftmax"),
        ("MODEL.LOSSES.TRI.MARGIN", "0.3"),
        ("DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"),
        ("OUTPUT_DIR", "logs"),
        ("model.name", "osnet_x1_0"),
        ("train.optim", "adam"),
        ("train.max_epoch", "60"),
        ("train.fixbase_epoch", "5"),
        ("loss.softmax.label_smooth", "True"),
        ("sampler.train_sampler", "RandomSampler"),
        ("data.save_dir", "logs"),
    ],
)
def test_what_is_advised_for_a_key_of_another_program_is_accepted(key, value):
    advice = re.search(r"Write it as (--.+)\.$", refusal("train", f"people {key} {value}"))
    assert advice
    got("train", f"people {advice[1]}")


def test_a_file_with_such_a_name_is_a_file():
    assert got("look", "train.csv").path == Path("train.csv")
    assert got("look", "model.onnx").path == Path("model.onnx")


def test_a_rate_of_adam_with_sgd_is_said(capsys):
    got("train", "people --lr 0.00035")
    assert "pass --optimizer adam" in capsys.readouterr().err
    for words in ("--lr 0.00035 --optimizer adam", "--lr 0.001", "--lr 0", ""):
        got("train", f"people {words}")
    for name, file in list_recipes().items():
        typed = re.match(r"rewho (\w+)", yaml.safe_load(file.read_text())["about"].get("command", ""))
        got(typed[1] if typed else "train", f"--recipe {name}")
    assert "low for sgd" not in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_alias_stands_for_an_option_and_never_for_another_than_its_own_name(command):
    known = dict(options_of(COMMANDS[command]))
    own = {name.rpartition(".")[2] for name in known}
    for alias in ALIASES:
        found = find_options(alias, known, COMMANDS[command].command)
        if alias in own and len(found) == 1:
            assert found[0].rpartition(".")[2] == alias
    assert all(find_options(name, known, COMMANDS[command].command) == (name,) for name in known)


def test_every_answer_and_alias_is_of_use_in_some_command():
    known = {name: dict(options_of(kind)) for name, kind in COMMANDS.items()}
    for alias in ALIASES:
        assert any(find_options(alias, known[name], COMMANDS[name].command) for name in COMMANDS), alias
    assert not set(ALIASES) & set(ANSWERS)
    assert all(target in COMMANDS or target in ("--help", "--version") for target in COMMAND_ANSWERS.values())


@pytest.mark.parametrize(
    ("command", "words", "candidates"),
    [
        ("crop", "a.mp4 --batch 3", ["--detector.batch", "--pose.batch"]),
        ("crop", "--source a.mp4", ["--terms.source", "--videos"]),  # never a legal term by accident
        ("crop", "a.mp4 --output x", ["--detector.output", "--out"]),
        ("train", "--kind x", ["--sampler.kind", "--optimizer.kind", "--model.kind"]),
        ("pretrain", "--momentum 0.5", ["--optimizer.momentum", "--contrast.momentum"]),
        ("teachers", "--colour 0.5", ["--holistic_augment.colour", "--partial_augment.colour"]),
    ],
)
def test_ambiguous_names_list_what_they_may_mean(command, words, candidates):
    said = refusal(command, words)
    assert all(name in said for name in candidates) and "in full" in said


def test_all_mistakes_are_said_at_once_as_they_were_typed():
    said = refusal("train", "people more --bath 3 --kind x --imgsz 3 --lr x --batch 0 --epochs")
    assert said.startswith("7 options: ")
    for word in ("--bath", "--kind", "--imgsz", "--lr 'x'", "--batch 0", "--epochs none", "'people' and 'more'"):
        assert f"\n  {word}" in said or word in said
    assert "--sampler.batch 0" not in said


@pytest.mark.parametrize("word", ["--zzz", "--lq", "--foo", "--thresholds_of_what"])
def test_no_guess_is_offered_that_is_not_near(word):
    assert "nearest" not in refusal("train", f"{word} 1")


def test_nearness_by_hand():
    assert nearest("list", COMMANDS) is None
    assert nearest("lr", ["augment.colour", "colour"]) is None
    assert nearest("trian", COMMANDS) == "train"
    assert nearest("Market", ["msmt17", "market1501"]) == "market1501"
    assert nearest("x", ["y"]) is None


@pytest.mark.parametrize(("word", "ours"), [("val", "evaluate"), ("predict", "embed"), ("list", "--help")])
def test_commands_of_other_programs_are_answered(word, ours, capsys):
    assert main([word]) == 2
    assert f"`rewho {ours}`" in capsys.readouterr().err


def test_an_option_given_twice_is_said(capsys):
    assert got("train", "--epochs 3 --max-epoch 4").epochs == 4
    assert "given twice; '4' holds, not '3'" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_shows_three_examples_that_are_understood_and_the_fifteen_most_used_options(command):
    kind = COMMANDS[command]
    assert len(kind.command.examples) >= 3 or not list(options_of(kind))
    known = dict(options_of(kind))
    for example in kind.command.examples:
        assert example.split()[0] == command
        words = example.split()[1:]
        words = words if "--recipe" not in words else words[: words.index("--recipe")]
        assert parse(kind, words) is not None
    shown = choose_options(kind)
    assert len(shown) == len(set(shown)) <= MOST
    text = help_text(kind)
    assert all(f"\n  --{name}" in text for name in shown if name in kind.command.short)
    assert all(f"\n  --{shorten(name, known, kind.command)}" in text for name in shown if name in known)
    assert "--help-all" in text
    assert all(name in known or name in kind.command.short for name in kind.command.common.split())


def test_quiet_leaves_warnings_and_errors(capsys):
    from rewho.core.progress import be_quiet, say

    try:
        assert main(["train", "-q", "--print_config"]) == 0
        say("a message")
        say("warning: of something")
        assert capsys.readouterr().err == "warning: of something\n"
    finally:
        be_quiet(False)
