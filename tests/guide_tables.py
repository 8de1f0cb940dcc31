"""How the guides are run in a test: what lies in the folder of a page, what is shortened or replaced, what is left out.

Whatever is in none of these tables runs as it stands in its page.
"""

STEPS = "--epochs 1 --steps_per_epoch 2 --sampler.batch 8 --workers 0 --evaluate_every -1"
TRAIN = f"{STEPS} --embedding 16"
PRETRAIN = f"{STEPS} --input_size 64 32 --contrast.queue 64 --norm_group 0"
TEACHERS = f"{STEPS} --views holistic up1 --backbone squeezenet1_1 --pretrained none --holistic_size 64 32 "
TEACHERS += "--partial_size 48 48 --holistic_embedding 12 --partial_embedding 8"
ADAPT = f"{STEPS} --input_size 64 32 --images_per_identity 2 --k1 6 --k2 2 --min_samples 2 --group_identities 2"
CROP = "--detector replay --pose detector --rules.min_width 12 --screen.min_frames 0 --workers 0"
RUN = "--detector replay --pose detector --override crop.rules.min_width=12 crop.screen.min_frames=0 crop.workers=0"

PROJECT = "--override crop.detector.kind=replay train.epochs=1 train.steps_per_epoch=2 train.sampler.batch=8 "
PROJECT += "train.model.input_size=[64,32] train.data.workers=0 train.model.embedding=16"

PREPARED: dict[str, dict[str, str]] = {
    "README.md": {
        "photos": "photos",
        "image": "anna.jpg someone.jpg first.jpg second.jpg",
        "people": "people",
        "videos": "videos",
    },
    "adaptation.md": {
        "market": "IMAGES Market-1501 people",
        "listed": "cams",
        "model": "runs/model",
        "gallery": "shop",
    },
    "attention.md": {"image": "gate/0001.jpg gate/0002.jpg", "people": "my-people", "distilled": "runs/mine"},
    "crops.md": {
        "video": "street.mp4",
        "videos": "more-videos",
        "photographs": "photographs",
        "crops": "more-crops test-crops",
    },
    "distillation.md": {"market": "Market-1501"},
    "evaluation.md": {
        "model": "runs/mine runs/first runs/second",
        "crowd": "Market-1501",
        "msmt": "MSMT17_V1",
        "image": "first.jpg second.jpg",
    },
    "export.md": {
        "model": "runs/mine",
        "photos": "my-images crops",
        "people": "my-people",
        "image": "first.jpg second.jpg",
    },
    "gallery.md": {
        "model": "runs/train",
        "image": "query.jpg",
        "photos": "images/door",
        "crops": "runs/crop",
        "cameras": "videos.csv",
        "frame": "frame.jpg",
    },
    "getting-started.md": {
        "people": "my-people",
        "photos": "my-images",
        "image": "first.jpg second.jpg third.jpg",
        "gallery": "runs/demo/gallery",
    },
    "coming-from.md": {"market": "DATA", "checkpoint": "W.pth.tar"},
    "look.md": {
        "people": "people",
        "model": "runs/train",
        "image": "query.jpg a.jpg b.jpg",
        "crops": "crops",
        "weights": "weights.safetensors",
    },
    "own-parts.md": {"yard": "images"},
    "own-views.md": {"market": "Market-1501"},
    "pretraining.md": {
        "crops": "CROPS",
        "market": "Market-1501",
        "cuhk": "cuhk03-np/detected",
        "videos": "videos",
        "terms_recipe": "my-terms.yaml",
        "model": "runs/few-labels/ide-0.1-none-1 runs/few-labels/ide-0.1-encoder-1",
    },
    "python.md": {"people": "people", "crops": "crops", "photos": "photos", "image": "a.jpg b.jpg"},
    "run.md": {"videos": "videos videos/door", "video": "videos/yard.mp4", "people": "people"},
    "service.md": {"gallery": "shop", "certificate": "cert.pem", "key": "key.pem"},
    "starter.md": {"image": "first.jpg second.jpg", "people": "my-people"},
    "tables.md": {
        "market": "Market-1501",
        "cuhk": "cuhk03-np/detected cuhk03-np/labeled",
        "msmt": "MSMT17",
        "crops": "CROPS",
        "checkpoint": "moco_v2_800ep_pretrain.pth.tar lup_moco_r50.pth",
        "experts": "runs/my-teachers",
    },
    "training.md": {"market": "Market-1501", "people": "people"},
    "video.md": {"videos": "VIDEOS", "terms_recipe": "my-terms.yaml", "video": "street.mp4"},
    "your-data.md": {
        "people": "my-people",
        "listed": "my-images",
        "yard": "images",
        "market": "Market-1501",
        "ids": "few_ids/market1501/used_ids_0.10.txt",
    },
}
"""By page and kind, see `guide_materials.py`: the paths in the page's folder."""

SHORT: list[tuple[str, str, str]] = [
    (".*", "train ", TRAIN),
    (".*", "train (?!.*--(input_size|model.view))", "--input_size 64 32"),
    (".*", "train .*luperson/mgn", "--sampler.images_per_identity 4"),
    ("export.md", "export .*--int8", "--force"),
    (".*", "(train|export) .*--hold_out", "--hold_out 2"),
    (".*", "pretrain ", PRETRAIN),
    (".*", "teachers ", TEACHERS),
    (".*", "distill ", STEPS),
    (".*", "adapt ", ADAPT),
    (".*", "crop (?!--new-terms)", CROP),
    (".*", "run ", RUN),
    ("getting-started.md", "demo --chapter", "--identities 20 --epochs 1"),
    (".*", "table .*--data.root", "--plan"),
    ("your-data.md", "train .*--share 0.1", "--share 0.5"),
    ("training.md", "train people --epochs 60", "--epochs 2"),
    ("run.md", "run project.yaml", f"--hold_out 2 {PROJECT}"),
]
"""Pattern of pages, pattern of commands behind the word rewho, and what is appended to them."""

REPLACED: list[tuple[str, str, str]] = [
    ("attention.md", "--views up1 dn1", "--views holistic up1"),
    ("attention.md", "step-00000096", "step-00000006"),
    ("crops.md", '"kind": "yolox-s"}', '"kind": "replay"}'),
    ("crops.md", '"kind": "mediapipe-pose"}', '"kind": "detector"}'),
    ("gallery.md", '--head "218 5f0c…"', ""),
    ("python.md", "epochs=40, lr=0.01, batch=64", "epochs=1, steps_per_epoch=2, lr=0.01, batch=8, input_size=(64, 32)"),
    (
        "python.md",
        "data__share=0.5",
        "data__share=0.5, epochs=1, steps_per_epoch=2, batch=8, contrast={'queue': 64, 'norm_group': 0}, "
        "input_size=(64, 32)",
    ),
    ("training.md", '        out=Path("runs/mine"),', '        out=Path("runs/mine"), epochs=1,'),
    ("video.md", 'kind="onnx", weights=Path("yolox_nano.onnx")', 'kind="replay"'),
    ("video.md", 'kind="onnx", weights=Path("pose_landmark_lite.onnx")', 'kind="detector"'),
]
"""Page, words in a block, and what stands for them here."""

NETWORK = "needs a network; tests/core/test_named_models.py gets them from a server of its own"
INSTALLED = "is installed here"
OTHERS = "CI runs the README's own blocks, by `.ci/run`"
NOT_RUN: dict[tuple[str, str], str] = {
    ("README.md", "pip install uv && uv run rewho demo"): OTHERS,
    ("README.md", "uv run pytest"): OTHERS,
    (
        "README.md",
        "uv run rewho embed runs/demo/people/query --model runs/demo/distilled --out runs/demo/embeddings",
    ): OTHERS,
    (
        "README.md",
        "uv run rewho explain runs/demo/people/query/0121_c1s1_000001_00.jpg --model runs/demo/distilled "
        "--out runs/demo/attention",
    ): OTHERS,
    ("README.md", "uv run rewho models get yolox-s mediapipe-pose"): NETWORK,
    ("crops.md", "uv run rewho models get yolox-s mediapipe-pose"): NETWORK,
    ("video.md", "uv run rewho models get yolox-s mediapipe-pose"): NETWORK,
    ("run.md", "uv run rewho models get yolox-s mediapipe-pose"): NETWORK,
    ("export.md", "uv sync --extra export"): INSTALLED,
    ("getting-started.md", "pip install uv"): INSTALLED,
    ("getting-started.md", "uv run rewho demo"): OTHERS,
    ("gallery.md", "uv sync --extra scale"): INSTALLED,
    (
        "starter.md",
        "uv run python recipes/starter/make.py --out runs/starter --market market1501 --cuhk cuhk03-np/detected",
    ): "hours; tests/test_starter_recipe.py runs it shortened",
    (
        "pretraining.md",
        "IMAGENET=imagenet uv run sh recipes/luperson/few-labels.sh Market-1501 cuhk03-np/detected runs/few-labels",
    ): "37 trainings for three hours; tests/stages/test_luperson_recipes.py has its recipes",
    (
        "gallery.md",
        "rewho gallery create large --model runs/train --store milvus://vectors.example:19530",
    ): "needs a server; tests/gallery/test_milvus.py has an embedded one",
    (
        "distillation.md",
        "uv run rewho represent runs/teachers/holistic up1-of-timm.yaml --data Market-1501 --out runs/representations",
    ): "downloads the weights of a network of timm; tests/models/test_teachers.py has others",
    (
        "service.md",
        'curl -H "Authorization: Bearer $TOKEN" -F images=@query.jpg -F cameras=door '
        "http://127.0.0.1:8642/api/v1/searches/images",
    ): "needs a token of an account; tests/service/test_client_from_document.py asks as programs do",
    (
        "scale.md",
        "torchrun --standalone --nproc_per_node 4 --max_restarts 3 -m rewho train people --devices 4 --batch 64 "
        "--out runs/mine",
    ): "needs four devices; tests/stages/test_torchrun.py has two",
    (
        "run.md",
        "CROP = --detector yolox-s --pose mediapipe-pose --sampling.by seconds --sampling.seconds 0.5 "
        "--tracking.kind motion",
    ): "tests/stages/test_workflows.py runs it",
    ("training.md", "uv run rewho train Market-1501 --devices 4 --batch 128"): "needs four GPUs",
}
"""Commands that are not run, and why."""

SLOW: dict[tuple[str, str], str] = {
    ("getting-started.md", "uv run rewho demo --chapter few-labels"): "renders four streets, a minute or more",
    ("tables.md", "uv run rewho table fd7 --smoke"): "thirteen runs, a minute or more",
}
"""Commands that take too long for every change: run by `pytest -m slow`."""
