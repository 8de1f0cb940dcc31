"""Many mistakes on every command's line: each is answered in words, with exit code 2, and leaves nothing behind."""

import os

import pytest

from rewho.cli import COMMANDS, main

YAML = {
    "list.yaml": "- a\n",
    "empty.yaml": "",
    "deep.yaml": "[" * 3000,
    "itself.yaml": "extends: itself.yaml\n",
    "bool.yaml": "model: {view: true}\n",
    "number.yaml": "model: {backbone: 1.5}\n",
    "word.yaml": "epochs: many\n",
    "text.yaml": "model: resnet50\n",
    "mapping.yaml": "epochs: {a: 1}\n",
    "none.yaml": "epochs:\n",
    "smoke.yaml": "smoke: 3\n",
    "many.yaml": "epochs: 0\nseed: -1\n",
    "wrong.yaml": "epochs: x\nresume: 3\nout: [a]\n",
    "list-of-lists.yaml": "model: {input_size: [[1], 2]}\n",
    "tool.yaml": "about: {command: rewho crop --recipe tool.yaml}\nvideos: [a]\n",
    "twice.yaml": "epochs: 1\nepochs: 2\n",
}
COMMON = """
{c} --nonsense 1
{c} --recipe nowhere.yaml
{c} --recipe .
{c} --recipe pipe
{c} --recipe list.yaml
{c} --recipe empty.yaml
{c} --recipe deep.yaml
{c} --recipe itself.yaml
{c} --recipe twice.yaml
{c} --smoke
{c} --recipe
"""
MISTAKES = """
trian
train --recipe bool.yaml
train --recipe number.yaml
train --recipe word.yaml
train --recipe text.yaml
train --recipe mapping.yaml
train --recipe none.yaml
train --recipe smoke.yaml --smoke
train --recipe many.yaml
train --recipe wrong.yaml
train --recipe list-of-lists.yaml
train --recipe tool.yaml
train --data.root [a]
train --data.root {a:1}
train --data.root pipe
train --data.root word.txt
train --data.root empty
train --data.root=
train --out=
train --out word.txt/run --data.root empty
train --seed -1
train --seed 18446744073709551616
train --seed 1.5
train --seed true
train --seed 1e3
train --epochs 99999999999999999999999
train --epochs 0x10
train --epochs
train --epochs 1 2
train --epochs one
train --resume maybe
train --model.view pipe.yaml --data.root empty
train --model.view deep.yaml
train --model.pretrained pipe
train --model.pretrained word.txt --data.root empty
train --model.pretrained . --data.root empty
train --optimizer.learning_rate inf
train --optimizer.learning_rate 1,5
train --model.input_size 64
train --model.input_size a b
train --data.person_pattern ( --data.root empty
train 5
evaluate
evaluate --model nowhere --data empty
evaluate --model empty --data empty
evaluate --model pipe --data empty
evaluate --model word.txt --data empty
evaluate --model [a] --data [a]
evaluate --k1 0
embed
embed empty
embed empty --model empty
embed nowhere --model empty
embed a b c
explain
explain word.txt --model empty
explain nowhere.jpg --model nowhere
export
export --model nowhere
export --model empty
export --model word.txt
compare
compare word.txt
compare word.txt word.txt --model nowhere
compare --model empty pipe pipe
crop
crop nowhere.mp4
crop word.txt
crop pipe
crop empty
crops
crops destroy
crops verify
crops verify nowhere
crops verify empty
crops verify word.txt
crops export empty --out x
crops merge empty empty --out x
pretrain
pretrain nowhere
pretrain empty
pretrain word.txt
teachers --data.root empty
teachers --views up9
represent
represent nowhere --data.root empty
represent deep.yaml --data.root empty
distill
distill --student nowhere --data.root empty
distill --student empty --data.root empty
distill --representations empty --student empty --data.root empty
table
table fd99
table deep.yaml --data.root empty
table itself.yaml --data.root empty
table list.yaml --data.root empty
run
run nowhere.mp4
run empty
run word.txt
run list.yaml
run --crops empty
run --data empty --override train
run --data empty --override train.epoch=1
run --crops empty --distill
adapt nowhere
adapt empty --init none
search
search word.txt
search nowhere.jpg --in empty
search word.txt --in nowhere
gallery
gallery destroy empty
gallery create word.txt
gallery add empty word.txt
gallery search empty word.txt
models get
models get yolo
look nowhere
serve empty
serve word.txt --port 0.5
embed empty --ray
embed empty --gpus 0.5
demo --identities 0
demo --chapter x
demo --out word.txt
"""


def lines():
    return [
        *(line for line in MISTAKES.splitlines() if line),
        *(line.format(c=command) for command in COMMANDS for line in COMMON.split("\n") if line),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for name, content in YAML.items():
        (folder / name).write_text(content)
    (folder / "word.txt").write_text("word\n")
    (folder / "empty").mkdir()
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(folder / name)
    return folder


def test_every_mistake_is_answered_in_words(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before, wrong = sorted(place.rglob("*")), []
    for line in lines():
        try:
            code = main(line.split(" "))
        except BaseException as error:  # noqa: BLE001 - all that went wrong is reported at once
            code = repr(error)[:200]
        said = capsys.readouterr().err
        if code != 2 or "expected" not in said or "Fix: " not in said or "Traceback" in said:
            wrong.append(f"{line}: {code} {said[:200]}")
        left = {path for path in set(place.rglob("*")) - set(before) if "runs" not in path.parts}
        if left:
            wrong.append(f"{line}: leaves {sorted(left)[0].relative_to(place)}")
            before = sorted(place.rglob("*"))
    assert len(lines()) > 200
    assert not wrong, "\n".join(wrong)
