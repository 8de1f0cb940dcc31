"""The first mistakes a user makes: each ends with exit code 2, says how to mend it, and spoils nothing."""

import shutil

import pytest

from rewho.cli import main

TRAIN = (
    "train --data.workers 0 --model.pretrained none --model.embedding 8 --model.input_size 64 32 --epochs 1 "
    "--engine.device cpu"
)


@pytest.fixture
def place(people, model, tmp_path, monkeypatch):
    """A folder with people, a model, and things that are neither."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").symlink_to(people)
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "empty").mkdir()
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "thesis.txt").write_text("precious")
    (tmp_path / "words.jpg").write_text("not an image")
    (tmp_path / "network.onnx").write_text("not a network")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.onnx").write_text("not a network")
    (tmp_path / "one" / "alice").mkdir(parents=True)
    shutil.copy(next((people / "query").iterdir()), tmp_path / "one" / "alice" / "a.jpg")
    shutil.copy(next((people / "query").iterdir()), tmp_path / "person.jpg")
    (tmp_path / "nested" / "data").mkdir(parents=True)
    (tmp_path / "nested" / "data" / "people").symlink_to(people)
    broken = tmp_path / "broken"
    shutil.copytree(people, broken)
    victim = sorted((broken / "bounding_box_train").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    half = tmp_path / "half"
    shutil.copytree(people, half)
    shutil.rmtree(half / "query")
    (tmp_path / "view.yaml").write_text("name: hat\nbox: {top: 0.5, bottom: 0.2}\nsize: [64, 64]\n")
    return tmp_path


MISTAKES = {
    "no such data": (f"{TRAIN} --data.root nowhere", "nowhere"),
    "data is a file": (f"{TRAIN} --data.root words.jpg", "words.jpg"),
    "data is empty": (f"{TRAIN} --data.root empty", "empty"),
    "one folder too high": (f"{TRAIN} --data.root nested", "people"),
    "no query part": ("evaluate --model model --data half", "query"),
    "unknown layout": (f"{TRAIN} --data.root people --data.layout market", "market1501"),
    "wrong layout": (f"{TRAIN} --data.root people --data.layout cuhk03-original", "cuhk03"),
    "a broken image": (f"{TRAIN} --data.root broken", ".jpg"),
    "one person only": (f"{TRAIN} --data.root one --sampler.batch 2", "two people"),
    "unknown option": (f"{TRAIN} --data.root people --epoch 3", "nearest: epochs"),
    "value of another kind": (f"{TRAIN} --data.root people --sampler.batch many", "a whole number"),
    "unknown backbone": (f"{TRAIN} --data.root people --model.backbone resnet5", "resnet50"),
    "unknown view": (f"{TRAIN} --data.root people --model.view upper", "holistic"),
    "a view upside down": (f"{TRAIN} --data.root people --model.view view.yaml", "top"),
    "no such weights": (f"{TRAIN} --data.root people --model.pretrained w.pth", "w.pth"),
    "weights that are no weights": (f"{TRAIN} --data.root people --model.pretrained words.jpg", "words.jpg"),
    "batch larger than the data": (f"{TRAIN} --data.root people --sampler.batch 4096 --sampler.accumulate 64", "4096"),
    "batch that is not P x K": (f"{TRAIN} --data.root people --sampler.kind identities --sampler.batch 30", "30"),
    "parts that do not divide": (f"{TRAIN} --data.root people --sampler.batch 8 --sampler.accumulate 3", "accumulate"),
    "a pass with one person": (
        f"{TRAIN} --data.root people --sampler.kind identities --sampler.batch 16 --sampler.accumulate 4",
        "2 or more people with all their 4 images",
    ),
    "input too small": (
        f"{TRAIN} --data.root people --model.input_size 8 8".replace("--model.input_size 64 32 ", ""),
        "32",
    ),
    "output folder in use": (f"{TRAIN} --data.root people --out occupied", "thesis.txt"),
    "unknown precision": (f"{TRAIN} --data.root people --engine.precision half", "bf16"),
    "share beyond one": (f"{TRAIN} --data.root people --data.share 10", "share"),
    "erasing more than everything": (f"{TRAIN} --data.root people --augment.erase_area_high 4", "erase"),
    "no model given": ("evaluate --data people", "--model"),
    "no data given": ("evaluate --model model", "--data"),
    "not a model": ("evaluate --model empty --data people", "model.json"),
    "no such image": ("compare person.jpg nobody.jpg --model model", "nobody.jpg"),
    "not an image": ("compare person.jpg words.jpg --model model", "words.jpg"),
    "a single image": ("compare person.jpg --model model", "two or more"),
    "no images": ("embed empty --model model", "empty"),
    "a view twice": ("teachers --data.root people --views up1 up1", "each once"),
    "representations of no images": ("represent model --data.root people --batch 0", "--batch"),
    "embedding no images at a time": ("embed people/query --model model --batch 0", "--batch"),
    "a view to mimic twice": ("distill --student model --views up1 up1", "Name every view once"),
    "every loss dropped": ("distill --student model --mimic.dropout 1", "0.99"),
    "a warm-up that ends before it begins": ("distill --student model --branches.warmup_epochs -3", "warmup_epochs"),
    "branches without features": ("distill --student model --branches.features 0", "--branches.features"),
    "a misspelt balance": ("distill --student model --mimic.balance scales", "Did you mean 'scale'"),
    "a precision for embedding": ("embed people/query --model model --engine.precision bf16", "engine.precision"),
    "a teacher without its description": ("represent network.onnx --data people", "`network: network.onnx`"),
    "a network of timm as teacher": ("represent timm:resnet18 --data people", "`network: timm:resnet18`"),
    "a teacher's file": ("represent model/model.safetensors --data people", "Give its folder, model."),
    "a model's file": ("embed people/query --model model/model.safetensors", "Give its folder, model."),
    "an exported model": ("explain person.jpg --model exported", "model.onnx in it is an exported file"),
    "a misspelt model": ("export strater --out x", "Did you mean the model `starter`"),
    "a flag with a value of another kind": ("export model --flip maybe", "--flip: expected true or false"),
    "two models for one": ("export model half", "expected one value, got 'model' and 'half'"),
    "a misspelt recipe to list": ("recipes s-fst", "Did you mean s-fast?"),
    "crops that are not there": ("table luperson5 --data people --crops nowhere --plan", "nothing at nowhere"),
    "a run that is not there": ("table fd7 --data people --use s-initial=nowhere --plan", "nothing at nowhere"),
    "a table's file that is not there": ("table mine.yaml --data people", "mine.yaml: expected a YAML file"),
    "a demo over other files": ("demo --out occupied", "thesis.txt"),
    "no such recipe": ("train --recipe recipe.yaml", "recipe.yaml"),
    "no such command": ("valuate", "rewho evaluate"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained(place, capsys, mistake):
    command, says = MISTAKES[mistake]
    before = sorted(path.relative_to(place) for path in place.rglob("*") if "runs" not in path.parts)
    out = [] if "--out" in command or not command.startswith(("train", "evaluate", "embed")) else ["--out", "runs/x"]
    code = main(command.split() + out)
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert says in printed.err
    assert "expected" in printed.err and "Fix: " in printed.err
    assert "Traceback" not in printed.err and printed.out == ""
    assert sorted(path.relative_to(place) for path in place.rglob("*") if "runs" not in path.parts) == before
    assert not any(path.name == "model.safetensors" for path in place.glob("runs/**/*"))


def test_a_mistake_can_be_mended_and_the_same_folder_used(place, capsys):
    wrong = f"{TRAIN} --data.root people --out runs/x --sampler.batch 4096 --sampler.accumulate 64".split()
    assert main(wrong) == 2
    assert main(f"{TRAIN} --data.root people --out runs/x --sampler.batch 8 --evaluate_every -1".split()) == 0
