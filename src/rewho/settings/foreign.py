"""Configuration keys of fast-reid and torchreid, typed as words or as options: answered with our options and values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from rewho.core.check import UserError
from rewho.settings.aliases import KEYS, find_answer
from rewho.settings.fields import Command, plain_type
from rewho.settings.names import GLOBAL_OPTIONS, find_options, shorten

GROUPS = {
    "model": "name pretrained load_weights resume",
    "data": "type root sources targets workers split_id height width combineall transforms k_tfm norm_mean norm_std "
    "save_dir load_train_targets",
    "market1501": "use_500k_distractors",
    "cuhk03": "labeled_images classic_split use_metric_cuhk03",
    "sampler": "train_sampler train_sampler_t num_instances num_cams num_datasets",
    "train": "optim lr weight_decay max_epoch start_epoch batch_size fixbase_epoch open_layers staged_lr new_layers "
    "base_lr_mult lr_scheduler stepsize gamma print_freq seed",
    "sgd": "momentum dampening nesterov",
    "adam": "beta1 beta2",
    "loss": "name softmax.label_smooth triplet.margin triplet.weight_t triplet.weight_x",
    "test": "batch_size dist_metric normalize_feature ranks evaluate eval_freq start_eval rerank visrank visrank_topk",
}
TORCHREID = frozenset(f"{group}.{name}" for group, names in GROUPS.items() for name in names.split())
"""torchreid's keys, as far as they are answered; any other word with a dot may be a file's name."""
CHOICES = {
    "globalavgpool": "gap",
    "fastglobalavgpool": "gap",
    "globalmaxpool": "gmp",
    "gempool": "gem",
    "generalizedmeanpooling": "gem",
    "generalizedmeanpoolingp": "gem",
    "multisteplr": "steps",
    "multi_step": "steps",
    "single_step": "steps",
    "cosineannealinglr": "cosine",
    "naiveidentitysampler": "identities",
    "balancedidentitysampler": "identities",
    "randomidentitysampler": "identities",
    "trainingsampler": "shuffle",
    "randomsampler": "shuffle",
    "circlesoftmax": "circle",
}
"""Values elsewhere, in small letters → ours."""
OTHER = "docs/guide/coming-from.md has our names for those of other programs."


def is_foreign_key(name: str) -> bool:
    """Return whether a name is a key of fast-reid, such as SOLVER.BASE_LR, or one of torchreid's.

    Example:
        >>> [is_foreign_key(name) for name in ("SOLVER.OPT", "OUTPUT_DIR", "train.optim", "train.csv", "PEOPLE")]
        [True, True, True, False, False]
    """
    return bool(re.fullmatch(r"[A-Z]+[A-Z0-9_]*(\.[A-Z0-9_]+)+|OUTPUT_DIR", name)) or name in TORCHREID


def find_advice(name: str, value: str, known: Mapping[str, Any], command: Command) -> str:
    """Return what to type instead of a key and its value; an empty text if the command has no such option.

    A value is only named where the option has it.

    Example:
        >>> known = {"optimizer.kind": Literal["sgd", "adam"]}
        >>> find_advice("SOLVER.OPT", "Adam", known, Command("train", ""))
        'Write it as --optimizer adam.'
        >>> find_advice("SOLVER.OPT", "LAMB", known, Command("train", ""))
        'Write it as --optimizer sgd or adam.'
    """
    last = name.rpartition(".")[2].lower()
    answer = KEYS.get(".".join(name.split(".")[-2:]), "")
    if " " in answer:
        return answer
    for option in find_options(answer or last, known, command):
        if option not in GLOBAL_OPTIONS:
            return f"Write it as --{shorten(option, known, command)} {_translate(value, known[option])}."
    return "" if answer else find_answer(last, known)


def _translate(value: str, kind: Any) -> str:  # noqa: ANN401 - a type annotation
    if get_origin(plain_type(kind)) is not Literal:
        return value or "VALUE"
    choices = [str(choice) for choice in get_args(plain_type(kind))]
    ours = CHOICES.get(value.lower(), value.lower())
    return ours if ours in choices else " or ".join([", ".join(choices[:-1]), choices[-1]])


def find_foreign_word(
    word: str, waiting: list[str], known: Mapping[str, Any], command: Command, taken: re.Pattern[str]
) -> UserError | None:
    """Return the error for `lr=0.1` or `SOLVER.BASE_LR 0.1`, with our form; None for another word, or a file's name.

    Args:
        word: The word.
        waiting: The words behind it; the key's value is taken from them.
        known: Type of each option of the command.
        command: The command.
        taken: What options look like, which are no values.

    Example:
        >>> known = {"optimizer.learning_rate": float}
        >>> find_foreign_word("lr=0.1", [], known, Command("train", ""), re.compile("--")).fix
        'Write it as --lr 0.1.'
    """
    name, equals, value = word.partition("=")
    key = is_foreign_key(name)
    if not (key or (equals and re.fullmatch(r"[A-Za-z_.]+", name))) or Path(word).exists():
        return None
    if key and not equals and waiting and not taken.match(waiting[0]):
        value = waiting.pop(0)
    advice = find_advice(name, value, known, command)
    if not (key or advice):
        return None
    return UserError("command line", expected="options that begin with --", got=repr(word), fix=advice or OTHER)
