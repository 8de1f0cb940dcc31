"""Model folders, runs and checkpoints of others: damaged or hostile ones are a `UserError`, soon, in little memory."""

import json
import os
import resource
import time

import pytest
import torch

from rewho.cli import main
from rewho.core.artifact import MANIFEST, hash_file, write_json
from rewho.core.check import UserError
from rewho.core.record import STARTED
from rewho.core.shipped import CARD, TENSORS
from rewho.core.stage import Stage
from rewho.embedding.embedder import load
from rewho.models.single_view import SingleViewModel
from rewho.models.weights import ModelCard, describe_model, load_model, save_model
from rewho.settings import ModelSettings
from rewho.training.checkpoint import DESCRIPTION, STATE, newest_checkpoint, read_checkpoint, save_checkpoint
from rewho.training.log import LOG

SETTINGS = ModelSettings(embedding=8, pretrained="none", extra_bn="no", input_size=(64, 32))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, SingleViewModel(SETTINGS, (64, 32)), ModelCard())
    return folder


@pytest.fixture
def copy(made, tmp_path):
    (tmp_path / TENSORS).symlink_to(made / TENSORS)
    (tmp_path / CARD).write_bytes((made / CARD).read_bytes())
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "view.yaml").write_text("name: [")
    return tmp_path


def soon(check, *words):
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        check()
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    text = str(error.value)
    assert all(word in text for word in words) and "\x1b" not in text and len(text) < 1500
    return text


def architecture(**values):
    return {"architecture": {"backbone": "squeezenet1_1", "embedding": 8, "extra_bn": "no"} | values}


CARDS = {
    "nothing": b"",
    "noise": b"\xff\xfe\x00",
    "a word": b"model",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep but closed": b'{"format": 1, "architecture": ' + b"[" * 500 + b"]" * 500 + b"}",
    "infinity": b'{"format": Infinity}',
    "an endless number": b'{"format": ' + b"9" * 5000 + b"}",
    "too large": b" " * (9 * 2**20),
    "no format": {"format": None},
    "a later format": {"format": 99},
    "format as text": {"format": "1"},
    "format true": {"format": True},
    "no architecture": {"architecture": None},
    "architecture as text": {"architecture": "resnet50"},
    "an unknown kind": architecture(kind="transformer"),
    "an unknown backbone": architecture(backbone="squeezenet9"),
    "a backbone as list": architecture(backbone=["resnet50"]),
    "a backbone as mapping": architecture(backbone={"a": {"b": 1}}),
    "a hub name": architecture(backbone="hf-hub:somebody/something"),
    "a local folder": architecture(backbone="local-dir:/tmp"),
    "another backbone": architecture(backbone="resnet18"),
    "a giant backbone": architecture(backbone="vit_giant_patch14_224"),
    "a giant embedding": architecture(embedding=2**40),
    "an endless embedding": architecture(embedding=10**30),
    "a negative embedding": architecture(embedding=-8),
    "an embedding as text": architecture(embedding="many"),
    "an embedding of another size": architecture(embedding=16),
    "an embedding as fraction": architecture(embedding=8.5),
    "an unknown pooling": architecture(pooling="sum"),
    "a pooling kernel of nothing": architecture(pooling_kernel=0),
    "an unknown head": architecture(head="fc"),
    "a head that leaves weights over": architecture(head="none"),
    "an unknown stride": architecture(stride_one_at="layer9"),
    "extra_bn as number": architecture(extra_bn=1),
    "extra_bn true": architecture(extra_bn=True),
    "another extra_bn": architecture(extra_bn="yes"),
    "an unknown view": architecture(view="legs"),
    "a view that is a pipe": architecture(view="pipe.yaml"),
    "a view that is a device": architecture(view="/dev/zero.yaml"),
    "a view that is not there": architecture(view="nowhere.yaml"),
    "a view that is no view": architecture(view="view.yaml"),
    "a view with a NUL": architecture(view="a\0.yaml"),
    "a view with a long name": architecture(view="v" * 300 + ".yaml"),
    "a view as number": architecture(view=3.5),
    "no input size": {"input_size": None},
    "an input size of one": {"input_size": [64]},
    "an input size of nothing": {"input_size": [0, 0]},
    "a giant input size": {"input_size": [10**9, 10**9]},
    "an input size as text": {"input_size": "64x32"},
    "a mean of two": {"mean": [0.5, 0.5]},
    "a mean of words": {"mean": ["a", "b", "c"]},
    "a mean of 255": {"mean": [128, 128, 128]},
    "a deviation of 0": {"std": [0, 0, 0]},
    "a negative deviation": {"std": [-1, 1, 1]},
    "a deviation as mapping": {"std": {"r": 1, "g": 1, "b": 1}},
    "another box": {"box": ["0", "1/2", "0", "1"]},
    "a box of numbers": {"box": [0, 1, 0, 1]},
    "a box as text": {"box": "0101"},
    "a box of three": {"box": ["0", "1", "0"]},
    "provenance as list": {"provenance": []},
    "metrics as text": {"metrics": "good"},
    "a licence as number": {"licence": 3},
    "a classifier as list": {"classifier": ["linear"]},
}


@pytest.mark.parametrize("kind", CARDS)
def test_bad_model_descriptions(copy, kind, monkeypatch):
    monkeypatch.chdir(copy)
    if isinstance(CARDS[kind], bytes):
        (copy / CARD).write_bytes(CARDS[kind])
    else:
        write_json(copy / CARD, json.loads((copy / CARD).read_text()) | CARDS[kind])
    soon(lambda: load(copy, "cpu"))


def test_bad_weights_and_missing_files(copy, made):
    for content in (b"", b"\xff" * 50, (made / TENSORS).read_bytes()[:-4], (made / TENSORS).read_bytes() + b"\0"):
        (copy / TENSORS).unlink()
        (copy / TENSORS).write_bytes(content)
        soon(lambda: load_model(copy), TENSORS)
    (copy / TENSORS).unlink()
    soon(lambda: load_model(copy), TENSORS)
    os.mkfifo(copy / TENSORS)
    soon(lambda: load_model(copy), TENSORS)
    soon(lambda: load_model(copy / "nowhere"), "nothing there")


RECORDS = {
    "nothing": b"",
    "noise": b"\xff\xfe\x00",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep but closed": b'{"stage": "train", "settings": ' + b"[" * 500 + b"]" * 500 + b', "inputs": {}}',
    "no stage": b'{"settings": {}, "inputs": {}}',
    "stage as number": b'{"stage": 3, "settings": {}, "inputs": {}}',
    "settings as list": b'{"stage": "train", "settings": [], "inputs": {}}',
    "no settings": b'{"stage": "train", "inputs": {}}',
    "inputs as text": b'{"stage": "train", "settings": {}, "inputs": "x"}',
    "too large": b" " * (9 * 2**20),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_bad_records_of_runs(tmp_path, kind):
    stage = Stage(tmp_path, "train", {"epochs": 3}, {})
    for name in (STARTED, MANIFEST):
        (tmp_path / "work").touch()
        (tmp_path / name).write_bytes(RECORDS[kind])
        soon(stage.begin, name)
    soon(lambda: load(tmp_path))


MANIFESTS = (
    b"",
    b"[]",
    b"{}",
    b'{"files": []}',
    b'{"files": {"state.pt": 3}}',
    b'{"files": {"state.pt": {}}}',
    b"[" * 9999,
)


@pytest.mark.parametrize("content", MANIFESTS)
def test_bad_manifests_of_checkpoints(tmp_path, content, capsys):
    path = save_checkpoint(tmp_path, 1, {"parameters": {}})
    (path / MANIFEST).write_bytes(content)
    soon(lambda: read_checkpoint(path), str(path))
    soon(lambda: newest_checkpoint(tmp_path), str(tmp_path))


STATES = {
    "a list": [1],
    "a tensor": torch.ones(1),
    "nothing": {},
    "no buffers": {"parameters": {}},
    "parameters as list": {"parameters": [torch.ones(1)], "buffers": {}},
    "parameters as numbers": {"parameters": {"model.a": 3}, "buffers": {}},
    "other parameters": {"parameters": {"model.a": torch.ones(1)}, "buffers": {}},
}


@pytest.mark.parametrize("kind", STATES)
def test_checkpoints_that_hold_other_things(tmp_path, kind):
    path = save_checkpoint(tmp_path / "checkpoints", 1, {}, description=described())
    torch.save(STATES[kind], path / STATE)
    seal(path)
    (tmp_path / STARTED).write_text("{}")
    soon(lambda: load(tmp_path, "cpu"))


def described(**changes):
    network = describe_model(SingleViewModel(SETTINGS, (64, 32)), ModelCard())
    return {"network": network, "prefix": "model", **changes}


def seal(path):
    files = (STATE, DESCRIPTION)
    entries = {name: {"bytes": (path / name).stat().st_size, "sha256": hash_file(path / name)} for name in files}
    write_json(path / MANIFEST, {"files": entries})


DESCRIPTIONS = {
    "no version": {},
    "another version": {"version": 2},
    "a version as text": {"version": "1"},
    "nothing else": {"version": 1},
    "a network as list": {"version": 1, "network": [], "prefix": "model"},
    "a giant": {"version": 1, "prefix": "model", **{"network": {"architecture": {"embedding": 10**9}}}},
    "a number as prefix": {"version": 1, "prefix": 3},
    "wrong branches": {"version": 1, "branches": {"widths": 3}, "folded": False},
    "branches as list": {"version": 1, "branches": [], "folded": True},
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_checkpoints_that_describe_other_things(tmp_path, kind):
    state = {f"model.{name}": tensor for name, tensor in SingleViewModel(SETTINGS, (64, 32)).state_dict().items()}
    path = save_checkpoint(tmp_path, 1, {"parameters": state, "buffers": {}}, description=described())
    assert load(path, "cpu").model.input_size == (64, 32)
    given = DESCRIPTIONS[kind]
    whole = json.loads((path / DESCRIPTION).read_text())
    network = {**whole["network"], **given["network"]} if isinstance(given.get("network"), dict) else None
    del whole["version"]
    write_json(
        path / DESCRIPTION, {} if kind == "nothing" else {**whole, **given, **({"network": network} if network else {})}
    )
    if kind == "nothing else":
        write_json(path / DESCRIPTION, given)
    seal(path)
    text = soon(lambda: load(path, "cpu", branches=True), str(path))
    assert ("version" in text) == ("version" in kind)


def test_a_view_of_a_distillation_needs_a_whole_log(tmp_path):
    (tmp_path / LOG).write_text('{"attribute_up1": Infinity}\n{"a": 1}\n')
    from rewho.training.log import read_log

    soon(lambda: read_log(tmp_path), f"{LOG}, line 1")


def test_commands_answer_in_words(copy, capsys):
    (copy / CARD).write_bytes(b"[" * 100_000)
    for command in ("evaluate --data x", "embed x", "export", "explain x.jpg", "compare a.jpg b.jpg"):
        assert (
            main(
                [*command.split(), "--model", str(copy), "--out", str(copy / "out")][
                    : None if "compare" not in command else -2
                ]
            )
            == 2
        )
        text = capsys.readouterr().err
        assert "Traceback" not in text and "Fix: " in text
