"""Names that people know from other programs: those that mean the same work, the others are answered with ours."""

from __future__ import annotations

import re
from collections.abc import Collection

# Name elsewhere → the last part of our option's name, or names of which a command has one. The meaning and the form of
# the value are the same, so these work.
ALIASES: dict[str, str] = {
    "a": "backbone",
    "arch": "backbone",
    "architecture": "backbone",
    "b": "batch",
    "base_lr": "learning_rate",
    "batch_size": "batch",
    "batchsize": "batch",
    "c": "recipe",
    "cfg": "recipe",
    "checkpoint_period": "every_epochs",
    "color": "colour",
    "color_jitter": "colour",
    "conf": "confidence",
    "config": "recipe",
    "config_file": "recipe",
    "data_dir": "data.root",
    "data_path": "data.root",
    "data_root": "data.root",
    "dataset_dir": "data.root",
    "eval_freq": "evaluate_every",
    "eval_interval": "evaluate_every",
    "eval_period": "evaluate_every",
    "fliplr": "augment.flip",
    "h": "help",
    "hflip": "augment.flip",
    "init": "pretrained",
    "initial_checkpoint": "pretrained",
    "iou": "overlap",
    "j": "workers",
    "label_smooth": "label_smoothing",
    "load_weights": "pretrained",
    "lr": "learning_rate",
    "lr0": "learning_rate",
    "lr_scheduler": "schedule",
    "manual_seed": "seed",
    "max_epoch": "epochs",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "num_gpus": "devices",
    "num_instance": "images_per_identity",
    "num_instances": "images_per_identity",
    "num_workers": "workers",
    "o": "out",
    "opt": "optimizer.kind",
    "optim": "optimizer.kind",
    "out_dir": "out",
    "output": "out",
    "output_dir": "out",
    "q": "quiet",
    "random_seed": "seed",
    "re_rank": "rerank",
    "reprob": "augment.erase",
    "reranking": "rerank",
    "save_dir": "out",
    "save_period": "every_epochs",
    "sched": "schedule",
    "scheduler": "schedule",
    "smoothing": "label_smoothing",
    "source": "videos images",
    "vid_stride": "every",
    "wd": "weight_decay",
    "weights": "pretrained model",
    "checkpoint": "model",
}

# Name elsewhere → what to type here. Each names an option of the command, or the answer is not given for it.
ANSWERS: dict[str, str] = {
    "amp": "Pass --precision bf16, or --precision fp16.",
    "cos_lr": "Pass --schedule cosine.",
    "dataset": "Pass the folder as --data FOLDER; its layout is recognised.",
    "eval": "Run `rewho evaluate MODEL --data DATA`.",
    "eval_only": "Run `rewho evaluate MODEL --data DATA`.",
    "evaluate": "Run `rewho evaluate MODEL --data DATA`.",
    "exist_ok": "Leave it out: the same command resumes its run, and other settings get a folder of their own.",
    "fp16": "Pass --precision fp16.",
    "gamma": "Pass --step_factor 0.1.",
    "gpu": "Run `CUDA_VISIBLE_DEVICES=0 rewho ...`, with --device cuda.",
    "gpu_id": "Run `CUDA_VISIBLE_DEVICES=0 rewho ...`, with --device cuda.",
    "gpu_devices": "Run `CUDA_VISIBLE_DEVICES=0 rewho ...`, with --device cuda.",
    "gpu_ids": "Run `CUDA_VISIBLE_DEVICES=0 rewho ...`, with --device cuda.",
    "half": "Pass --precision bf16, or --precision fp16.",
    "height": "Pass height and width as --input_size 256 128.",
    "img_size": "Pass height and width as --input_size 256 128.",
    "imgsz": "Pass height and width as --input_size 256 128.",
    "log_interval": "Leave it out: log.jsonl in the run's folder has every step.",
    "name": "Pass the whole folder as --out runs/NAME.",
    "patience": "Leave it out: no training stops early, and best/ in its folder keeps the best epoch (--out).",
    "print_freq": "Leave it out: log.jsonl in the run's folder has every step.",
    "project": "Pass the whole folder as --out runs/NAME.",
    "s": "Pass the folder as --data FOLDER; its layout is recognised.",
    "sources": "Pass the folder as --data FOLDER; its layout is recognised.",
    "stepsize": "Pass --schedule steps --step_epochs 20 40.",
    "t": "Run `rewho evaluate MODEL --data DATA` for each data set to test on.",
    "targets": "Run `rewho evaluate MODEL --data DATA` for each data set to test on.",
    "test_batch_size": "Pass it as --batch to `rewho evaluate`; a training has one --batch.",
    "test": "Run `rewho evaluate MODEL --data DATA`.",
    "test_only": "Run `rewho evaluate MODEL --data DATA`.",
    "train_batch_size": "Pass --batch 32.",
    "transforms": "Pass the strengths: --augment.flip 0.5, --augment.erase 0.5, --augment.colour 0.2.",
    "v": "Leave it out: all messages are printed already, and --quiet leaves warnings and results.",
    "val": "Run `rewho evaluate MODEL --data DATA`.",
    "verbose": "Leave it out: all messages are printed already, and --quiet leaves warnings and results.",
    "width": "Pass height and width as --input_size 256 128.",
}

KEYS = {
    "BACKBONE.DEPTH": "Write it as --backbone resnet50.",
    "BACKBONE.LAST_STRIDE": "Leave it out: --stride_one_at layer4 is the default.",
    "BACKBONE.NAME": "Write it as --backbone NAME.",
    "DATASETS.NAMES": "Pass the folder as --data FOLDER; its layout is recognised.",
    "DATASETS.TESTS": "Run `rewho evaluate MODEL --data DATA` for each data set to test on.",
    "INPUT.SIZE_TRAIN": "Write it as --input_size 256 128.",
    "INPUT.SIZE_TEST": "Write it as --input_size 256 128.",
    "MODEL.PRETRAIN_PATH": "Write it as --init FILE.",
    "SOLVER.IMS_PER_BATCH": "Write it as --batch 64.",
    "SOLVER.STEPS": "Write it as --schedule steps --step_epochs 40 70.",
    "SOLVER.WARMUP_ITERS": "Write it as --warmup_epochs, in epochs.",
    "AMP.ENABLED": "Write it as --precision bf16.",
    "REA.ENABLED": "Write it as --augment.erase 0.5.",
    "RERANK.ENABLED": "Run `rewho evaluate MODEL --data DATA --rerank`.",
}
"""The last two parts of fast-reid's keys → what to type here."""

COMMAND_ANSWERS = {
    "benchmark": "evaluate",
    "convert": "export",
    "detect": "crop",
    "eval": "evaluate",
    "extract": "embed",
    "features": "embed",
    "fit": "train",
    "infer": "embed",
    "info": "look",
    "list": "--help",
    "predict": "embed",
    "test": "evaluate",
    "val": "evaluate",
    "validate": "evaluate",
    "version": "--version",
    "vis": "explain",
    "visualise": "explain",
    "visualize": "explain",
}
"""Commands elsewhere → ours."""


def find_answer(name: str, known: Collection[str]) -> str:
    """Return what to type instead of another program's option; an empty text if the command has no such option.

    Example:
        >>> find_answer("imgsz", ["model.input_size"])
        'Pass height and width as --input_size 256 128.'
        >>> find_answer("imgsz", ["model"])
        ''
    """
    text = ANSWERS.get(name, "")
    if text.startswith("Run `rewho"):
        return text
    named = (option.rstrip(".") for option in re.findall(r"--([a-z_.]+)", text))
    has = {"quiet", *known, *(option.rpartition(".")[2] for option in known)}
    return text if all(option in has for option in named) else ""
