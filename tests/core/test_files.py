"""Text, JSON, YAML and lists of others: whatever is wrong with a file is said in words, soon, and in little memory."""

import os
import time

import pytest

from rewho.cli import main
from rewho.core.check import UserError
from rewho.core.files import RECORD_LIMIT, YAML_LIMIT, parse_json, read_json, read_text, read_yaml, yaml_text
from rewho.core.tensors import read_safetensors, read_torch
from rewho.data.file_lists import read_text as read_list
from rewho.data.images import decode, read_all
from rewho.data.view_file import read_view
from rewho.settings.recipe import read_recipe
from rewho.tables.plan import read_plan
from rewho.training.log import RunLog, read_log

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9))
BAD_YAML = {
    "a bomb of aliases": LAUGHS,
    "a bomb of merged mappings": MERGED,
    "an alias within itself": "a: &a [*a]\n",
    "deep lists": "[" * 60_000,
    "closed deep lists": "a: " + "[" * 2000 + "]" * 2000,
    "deep mappings": "".join("  " * depth + "a:\n" for depth in range(200)),
    "too large": "a: " + "x" * YAML_LIMIT,
    "many values": "a: [" + "1," * 40_000 + "]",
    "a name twice": "epochs: 3\nepochs: 4\n",
    "a Python object": "a: !!python/object/apply:os.getcwd []\n",
    "no text": "\0\1\2",
    "an unknown alias": "a: *b\n",
    "a list as name": "? [a]\n: b\n",
    "an endless number": "a: " + "9" * 5000,
    "two documents": "a: 1\n---\nb: 2\n",
    "an open bracket": "a: [1,\n",
    "a tab": "a:\n\t- b\n",
    "nothing": "",
    "a list": "- a\n- b\n",
    "a word": "word\n",
}
READERS = {"recipe": read_recipe, "table": read_plan, "view": read_view}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", BAD_YAML)
def test_bad_yaml_is_refused_in_words_and_soon(tmp_path, content, reader):
    (tmp_path / "file.yaml").write_text(BAD_YAML[content])
    began = time.process_time()
    with pytest.raises(UserError) as error:
        READERS[reader](tmp_path / "file.yaml")
    assert time.process_time() - began < 2
    assert "file.yaml" in str(error.value) and len(str(error.value)) < 1000


def test_an_empty_recipe_is_refused(tmp_path):
    (tmp_path / "file.yaml").write_text("# nothing\n")
    with pytest.raises(UserError, match="names and values, got None"):
        read_recipe(tmp_path / "file.yaml")


def test_a_line_and_a_place_are_named(tmp_path):
    (tmp_path / "file.yaml").write_text("a: 1\nb: [1,\n")
    with pytest.raises(UserError, match=r"file\.yaml.*line 3"):
        read_yaml(tmp_path / "file.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", "yes"),
        ("a: off", "off"),
        ("a: true", True),
        ("a: 1e-3", 0.001),
        ("a: 1:30", "1:30"),
        ("a: 007", "007"),
        ("a: 2024-01-02", "2024-01-02"),
        ("a: 0x10", "0x10"),
        ("a: -3", -3),
        ("a: .5", 0.5),
        ("a: ~", None),
        ("a:", None),
        ("a: 1_000", "1_000"),
        ("x: &x {a: 1}\n<<: *x", 1),
    ],
)
def test_plain_values_are_those_of_today_s_yaml(tmp_path, text, value):
    (tmp_path / "file.yaml").write_text(text)
    found = read_yaml(tmp_path / "file.yaml")["a"]
    assert found == value and type(found) is type(value)


def test_what_is_written_as_yaml_is_read_as_it_was(tmp_path):
    value = {"a": ["yes", "1e3", "1:30", "007", "null", "", "a: b", "2024-01-02"], "b": [True, None, 1e-7, -3, 0.5]}
    (tmp_path / "file.yaml").write_text(yaml_text(value))
    assert read_yaml(tmp_path / "file.yaml") == value


BAD_JSON = {
    "infinity": '{"total": Infinity}',
    "minus infinity": '{"total": -Infinity}',
    "NaN": '{"total": NaN}',
    "deep lists": "[" * 100_000,
    "closed deep lists": "[" * 300 + "]" * 300,
    "deep mappings": '{"a":' * 60 + "1" + "}" * 60,
    "cut short": '{"total": 1',
    "an endless number": '{"total": ' + "9" * 5000 + "}",
    "a word": "word",
    "nothing": "",
}


@pytest.mark.parametrize("content", BAD_JSON)
def test_bad_json_is_a_value_error(content):
    with pytest.raises(ValueError, match=r"."):
        parse_json(BAD_JSON[content])


@pytest.mark.parametrize("content", [*BAD_JSON.values(), "[]", "3", "null", '{"a": "3"}', '{"a": true}', '{"b": 3}'])
def test_bad_records_are_refused_in_words(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(UserError, match="JSON as rewho writes it"):
        read_json(tmp_path / "file.json", a=int)


def test_only_regular_files_of_some_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", RECORD_LIMIT + 1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, got in (
        ("pipe", "a pipe"),
        ("large", "8,388,609 bytes"),
        (".", "a folder"),
        ("none", "no file there"),
        ("loop", "symbolic links"),
        ("a\0b", "null"),
        ("n" * 300, "too long"),
        ("/dev/zero", "a pipe, socket or device"),
    ):
        for read in (read_text, read_json, read_yaml):
            with pytest.raises(UserError, match=got):
                read(tmp_path / name)


@pytest.mark.parametrize("content", [b"\xff\xfe a", b"path\n\xe9.jpg\n"])
def test_lists_in_another_encoding_are_refused(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UserError, match="text in UTF-8"):
        read_list(tmp_path / "list.csv")


@pytest.mark.parametrize(("command", "key"), [("train", "epochs: 1\n"), ("table", "data: [a]\nrows: []\n")])
@pytest.mark.parametrize("chain", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_documents_that_extend_themselves_are_named(tmp_path, capsys, chain, command, key):
    for name, below in zip(chain, [*chain[1:], chain[0]], strict=True):
        (tmp_path / f"{name}.yaml").write_text(f"extends: ../{tmp_path.name}/{below}.yaml\n{key}")
    words = ["--recipe"] if command == "train" else ["--data.root", "x", "--name"]
    assert main([command, *words, str(tmp_path / "a.yaml")]) == 2
    assert " -> ".join(f"{name}.yaml" for name in [*chain, chain[0]]) in capsys.readouterr().err


@pytest.mark.parametrize("named", ["5", "[a]", '""', "nowhere.yaml", "{a: b}", '"a\\0b"'])
def test_what_is_extended_is_a_file(tmp_path, named):
    (tmp_path / "a.yaml").write_text(f"extends: {named}\nepochs: 1\n")
    with pytest.raises(UserError, match=r"extends|nothing readable|no file there"):
        read_recipe(tmp_path / "a.yaml")


def test_logs_are_strict_json_and_damage_in_them_is_named(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.write(1, {"total": float("inf"), "norm": float("nan"), "rate": 0.5})
        log.write(2, {"total": float("-inf")})
    first, second = (tmp_path / "log.jsonl").read_text().splitlines()
    assert parse_json(first) == {"step": 1, "total": "Infinity", "norm": "NaN", "rate": 0.5}
    assert parse_json(second)["total"] == "-Infinity"
    (tmp_path / "log.jsonl").write_text(first + "\n" + second[:9])
    assert len(read_log(tmp_path)) == 1
    for damage in ("{", "[]", "3", '{"total": Infinity}', "[" * 5000):
        (tmp_path / "log.jsonl").write_text(f"{damage}\n{first}\n")
        with pytest.raises(UserError, match=r"log\.jsonl, line 1"):
            read_log(tmp_path)


@pytest.mark.parametrize("read", [read_safetensors, read_torch, lambda path: read_all(decode, [path, path])])
def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch, read):
    from pathlib import Path

    def refuse(path, *_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.bin").write_bytes(bytes(4096))
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match="Permission denied") as error:
        read(tmp_path / "a.bin")
    assert error.value.fix == "Check its permissions."


def test_a_folder_in_place_of_a_file_is_no_question_of_permissions(tmp_path):
    with pytest.raises(UserError, match="got a folder") as error:
        decode(tmp_path)
    assert error.value.fix == "Name the file, or each of the files in the folder."
