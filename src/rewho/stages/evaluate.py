"""Rank the gallery of each data set for its queries, score the rankings, and write a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rewho.core.artifact import hash_file, plain
from rewho.core.check import UserError, rename_options
from rewho.core.lock import release_locks
from rewho.core.people import JUNK
from rewho.core.progress import Progress, say, say_once
from rewho.core.record import rewho_version
from rewho.core.runtime import run_in_processes
from rewho.core.stage import Stage
from rewho.core.text import quantity
from rewho.data.datasets import read_settings
from rewho.data.scored_part import scored_part
from rewho.data.splits import HELD_OUT
from rewho.data.table import ImageTable
from rewho.embedding.decision import describe_points, store_thresholds
from rewho.embedding.exported import ExportedModel, is_exported
from rewho.embedding.own_split import choose_split
from rewho.embedding.scoring import rank_table
from rewho.rank.camera_norm import LEAST_CROPS, count_without_mean, normalise_cameras
from rewho.rank.interval import gain_interval
from rewho.rank.metrics import METRICS, evaluate
from rewho.rank.ranking import Ranking
from rewho.rank.rerank import rerank
from rewho.rank.score_norm import LEAST_COHORT, normalise_scores
from rewho.rank.scores import Scores
from rewho.rank.single_shot import SingleShotScores, single_gallery_shot
from rewho.rank.thresholds import collect_pairs, find_operating_points
from rewho.report.content import Decision, Gain, Report, Section, Table
from rewho.report.folder import write_report
from rewho.report.sections import build_section, find_changed_queries
from rewho.settings import EvaluateSettings
from rewho.settings.fields import check

if TYPE_CHECKING:
    from rewho.embedding.embedder import Embedder
    from rewho.report.attention_sheet import AttentionRow

    AnyModel = Embedder | ExportedModel

GAINS = {metric.query_name: metric.label for metric in METRICS if metric.interval}
ONE_PERSON = "one person, so no interval"
ON_ITSELF = "was trained on these very images; its scores say nothing about other people"
FREE_SETTINGS = (
    *("out", "model", "engine", "batch", "data.root", "data.workers", "data.memory_gb"),
    "save_threshold",
)


class First(NamedTuple):
    """The first model on a data set, which later ones are compared with."""

    name: str
    ranking: Ranking
    scores: Scores


@run_in_processes
@release_locks
def run(settings: EvaluateSettings) -> Path:
    """Evaluate every model on every data set; return index.html, beside metrics.json, CSV files and images."""
    check(settings)
    began = time.monotonic()
    _check(settings)
    models = {_name(path, settings.model): _load(path, settings) for path in settings.model}
    with rename_options({"--data.root": "--data"}):
        data_sets = [read_settings(choose_split(settings.model, settings.data, root)) for root in settings.data.root]
        data_sets = [table.with_notes(*scored_part(table).notes) for table in data_sets]
        for table in data_sets:
            _check_normalisation(table, settings)
    inputs = {f"model {name}": hash_file(model.weights[0]) for name, model in models.items()}
    for number, table in enumerate(data_sets):
        inputs |= {f"data {number}": table.digest(), f"images {number}": table.hash_contents()}
    for model in models.values():
        inputs |= {name: value for name, value in model.identity().items() if name != "model"}
    stage = Stage(settings.out, "evaluate", plain(settings), inputs, FREE_SETTINGS)
    page = settings.out / "index.html"
    if stage.begin() == "finished":
        return page
    data_names = _data_names(data_sets)
    warnings: dict[tuple[str, str], list[str]] = {}  # by model and data set
    for table, data in zip(data_sets, data_names, strict=True):
        say_once(table.summary())
        for name, model in models.items():
            warnings[name, data] = _find_warnings(model.description, table)
            for warning in warnings[name, data]:
                say(f"warning: {name} {warning}")
    sections: list[Section] = []
    metrics: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    first: dict[str, First] = {}
    for name, model in models.items():
        for table, data in zip(data_sets, data_names, strict=True):
            noted = table.with_notes(*(f"This model {warning}" for warning in warnings[name, data]))
            scored = _score(model, table, settings)
            decision, described = _decide(model, data, scored[0][0], table, warnings[name, data], settings)
            before = first.setdefault(data, First(name, *scored[0]))
            figures, shown = _more_figures(name, scored, before, table, settings)
            rankings = [scores.as_dict(camera_name=table.camera_name) for _, scores in scored]
            metrics.append({"model": name, "data": data, "rankings": rankings} | figures)
            decisions.append({"model": name} | described)
            shown |= {"decision": decision, "sheets": settings.sheets, "seed": settings.seed}
            shown["attention"] = _attention(model, table, settings)
            shown["overlaid"] = len(models) * len(data_sets) > 1
            sections.append(build_section(name, data, noted, scored, **shown))
            for _, scores in scored:
                say(f"{name} on {data}, {scores.description}: {scores.line()}")
            if "gain" in figures:
                say("\n".join(_gain_text(figures["gain"])))
    write_report(settings.out, replace(_report(settings, sections, metrics), thresholds=decisions))
    counts = {"sections": len(sections), "runtimes": {name: model.runtime for name, model in models.items()}}
    stage.finish(stage.files(), counts, time.monotonic() - began)
    return page


def _load(path: Path, settings: EvaluateSettings) -> AnyModel:
    """Load a model, with its branches where attention is drawn; an exported one, which draws none, without torch."""
    engine = settings.engine
    if is_exported(path):
        if settings.attention:
            say(f"note: {path} is an exported model, which gives embeddings only: no attention is drawn")
        return ExportedModel.open(path, engine.device, engine.threads, settings.runtime)
    from rewho.embedding.embedder import load

    return load(path, engine.device, engine.threads, settings.runtime, branches=settings.attention > 0)


def _attention(model: AnyModel, table: ImageTable, settings: EvaluateSettings) -> list[AttentionRow]:
    """Return the queries to draw with the model's attention."""
    if isinstance(model, ExportedModel):
        return []
    from rewho.embedding.attention import compute_query_attention

    return compute_query_attention(model, scored_part(table).query, settings.attention)


def _check(settings: EvaluateSettings) -> None:
    for option, values in (("--model", settings.model), ("--data", settings.data.root)):
        if not values:
            raise UserError(option, expected="at least one folder", got="none", fix=f"Pass {option} FOLDER.")
        places = [path.expanduser().resolve() for path in values]
        if twice := [str(path) for path, place in zip(values, places, strict=True) if places.count(place) > 1]:
            raise UserError(option, expected="each folder once", got=" and ".join(twice), fix="Leave out the second.")


def _name(path: Path, all_paths: Sequence[Path]) -> str:
    """Return a model's name: as much of the end of its path, as it was given, as tells it from the others."""
    given = [_parts(other) for other in all_paths]
    own = _parts(path)
    for length in range(1, len(own) + 1):
        if sum(other[-length:] == own[-length:] for other in given) == 1:
            return "/".join(own[-length:])
    return str(path)


def _parts(path: Path) -> tuple[str, ...]:
    """Return a path's names without `.`; of the folder itself if it is `.` or ends in `..`."""
    return path.parts if path.name not in ("", "..") else path.resolve().parts


def _find_warnings(description: Mapping[str, Any], table: ImageTable) -> list[str]:
    """Return the reasons why a model's scores on a data set may be inflated: it may be trained on test images.

    model.json names the training data of the model and of its initial weights, but holds only the model's own digest.
    Held-out people were held out of its training for certain only if that digest is the same.
    """
    same = description.get("trained_on", {}).get("rows_sha256") == table.digest()
    if same and table.in_split("pool").any():
        return [ON_ITSELF]
    warnings = []
    chosen = description.get("chosen", {})
    if chosen.get("data") == table.name:
        last = chosen.get("last_epoch", {}).get("mAP")
        then = f"; the last epoch's mAP was {100 * last:.2f} there" if last is not None else ""
        warnings.append(f"is the best epoch of its training, {chosen['how']}{then}")
    base, held_out, _ = table.name.partition(HELD_OUT)
    if not held_out:
        return warnings
    if not same and base in _training_sets(description):
        warnings.append(
            f"was trained on {base} and may have seen the people held out here, so scores may be inflated; only models "
            "trained with the same --data.hold_out, --data.split_seed and --data.share as here are known not to have"
        )
    initial, learned = description, set[str]()
    while initial := initial.get("provenance", {}).get("before") or {}:
        learned |= _training_sets(initial)
    if base in learned:
        warnings.append(f"started from a model that was trained on {base} and may have seen the people held out here")
    return warnings


def _training_sets(description: Mapping[str, Any]) -> set[str]:
    """Return the names of the data sets that a model was trained on, without the suffix for held-out people."""
    trained_on = description.get("trained_on") or {}
    names = [trained_on.get("name", ""), *(source.get("name", "") for source in trained_on.get("sources", ()))]
    return {str(name).partition(HELD_OUT)[0] for name in names}


def _data_names(tables: Sequence[ImageTable]) -> list[str]:
    """Return the name of each data set, with its folder if the name is not unique."""
    names = [table.name for table in tables]
    return [f"{table.name} ({table.root})" if names.count(table.name) > 1 else table.name for table in tables]


def _score(model: AnyModel, table: ImageTable, settings: EvaluateSettings) -> list[tuple[Ranking, Scores]]:
    """Return the ranking of a data set, then those that options ask for, each with its scores.

    `--camera_norm` gives a second one, which `--score_norm` and `--rerank` are applied to as well as to the first.
    """
    progress = Progress(f"embed {table.name}", scored_part(table).images, unit="images")
    ranking = rank_table(model, table, flip=settings.flip, batch=settings.batch, done=progress.advance)
    progress.close()
    bases = [ranking, *([normalise_cameras(ranking)] if settings.camera_norm else [])]
    rankings = list(bases)
    if settings.score_norm:
        rankings += [normalise_scores(base, settings.seed) for base in bases]
    if settings.rerank:
        say("re-ranking")
        rankings += [rerank(base, k1=settings.k1, k2=settings.k2, lambda_=settings.lambda_value) for base in bases]
    return [
        (one, evaluate(one, max_rank=settings.max_rank, camera_pairs=one is ranking, seed=settings.seed))
        for one in rankings
    ]


def _check_normalisation(table: ImageTable, settings: EvaluateSettings) -> None:
    """Raise a UserError, before images are embedded, for a data set that `--camera_norm` or `--score_norm` cannot use.

    Score normalisation and re-ranking compare gallery images with one another, relative to the mean of each camera.
    """
    part = scored_part(table)
    ranked = part.gallery.camera_ids[part.gallery.person_ids != JUNK]
    if settings.score_norm and len(ranked) < LEAST_COHORT:
        expected, fix = f"{LEAST_COHORT} gallery images or more as a cohort", "Leave --score_norm out."
        raise UserError(f"--score_norm: {table.name}", expected=expected, got=f"{len(ranked):,}", fix=fix)
    if not settings.camera_norm:
        return
    queries, images = count_without_mean(part.query.camera_ids, ranked), count_without_mean(ranked, ranked)
    if queries == len(part.query):
        expected = f"queries of cameras with {LEAST_CROPS} gallery images or more"
        got, fix = "unknown cameras, or fewer images of each", "Leave --camera_norm out."
        raise UserError(f"--camera_norm: {table.name}", expected=expected, got=got, fix=fix)
    if (queries or images) and (settings.score_norm or settings.rerank):
        other = "--score_norm" if settings.score_norm else "--rerank"
        expected = f"{LEAST_CROPS} gallery images or more of every camera"
        got = f"{quantity(queries, 'queries')} and {quantity(images, 'gallery images')} of cameras with fewer"
        fix = f"Leave out --camera_norm or {other}."
        raise UserError(f"--camera_norm with {other}: {table.name}", expected=expected, got=got, fix=fix)


def _decide(
    model: AnyModel,
    data: str,
    ranking: Ranking,
    table: ImageTable,
    warnings: Sequence[str],
    settings: EvaluateSettings,
) -> tuple[Decision, dict[str, Any]]:
    """Return the thresholds for false matches, for the page and for decide.json; store them with the model."""
    pairs = collect_pairs(ranking, seed=settings.seed)
    points = find_operating_points(pairs, seed=settings.seed)
    described = describe_points(points, pairs, data=data, digest=table.digest(), flip=settings.flip, warnings=warnings)
    if ON_ITSELF in warnings:
        stored = "Not stored with the model, which was trained on these images"
    elif settings.save_threshold:
        stored = store_thresholds(model, described)
        say(stored)
    else:
        stored = "Not stored with the model: --save_threshold is false"
    return Decision(points, len(pairs.same), pairs.compared, len(pairs.people), stored), described


def _more_figures(
    name: str,
    scored: Sequence[tuple[Ranking, Scores]],
    first: First,
    table: ImageTable,
    settings: EvaluateSettings,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return single-shot scores and the gain over the first model, for metrics.json and for the section."""
    figures: dict[str, Any] = {}
    tables: list[Table] = []
    shown: dict[str, Any] = {"tables": tables}
    ranking, scores = scored[0]
    if settings.single_gallery_shot:
        shot = single_gallery_shot(ranking, max_rank=settings.max_rank, seed=settings.seed)
        figures["single_gallery_shot"] = {"cmc": shot.cmc.tolist(), "repeats": shot.repeats}
        tables.append(_single_shot_table(shot))
    if first.name != name:
        gain = figures["gain"] = _gain(first, scores, settings.seed)
        tables.append(_gain_table(gain))
        shown["gain"] = Gain(first.name, gain["people"], {label: gain[key] for key, label in GAINS.items()})
        shown["changed"] = find_changed_queries(table, (first.ranking, first.scores), scored[0])
    return figures, shown


def _gain(first: First, scores: Scores, seed: int) -> dict[str, Any]:
    before, after = first.scores.per_query, scores.per_query
    gains = {key: gain_interval(before.values[key], after.values[key], before.person_ids, seed=seed) for key in GAINS}
    return {"over": first.name, "people": scores.people, **gains}


def _gain_text(gain: Mapping[str, Any]) -> list[str]:
    interval = f"95 % over {gain['people']:,} people: {{:+.2f}} to {{:+.2f}}" if gain["people"] > 1 else ONE_PERSON
    return [
        f"gain over {gain['over']}: {label} {100 * gain[key][0]:+.2f} "
        f"({interval.format(*(100 * end for end in gain[key][1:]))})"
        for key, label in GAINS.items()
    ]


def _gain_table(gain: Mapping[str, Any]) -> Table:
    rows = [
        [label, *("–" if isnan(value) else f"{100 * value:+.2f}" for value in gain[key])]
        for key, label in GAINS.items()
    ]
    over = f"95 % over {gain['people']:,} people" if gain["people"] > 1 else ONE_PERSON
    return Table(f"Gain over {gain['over']}, in points", ["score", "gain", f"{over}, from", "to"], rows)


def _single_shot_table(shot: SingleShotScores) -> Table:
    ranks = [k for k in (1, 5, 10, 20) if k <= len(shot.cmc)]
    title = f"One random gallery image per person, mean of {shot.repeats} draws, in percent"
    row = [shot.description, *(f"{100 * shot.cmc[k - 1]:.1f}" for k in ranks)]
    return Table(title, ["ranking", *(f"Rank-{k}" for k in ranks)], [row])


def _listed(names: Sequence[str], kind: str) -> str:
    return " and ".join(names) if len(names) < 3 else f"{len(names)} {kind}"


def _report(settings: EvaluateSettings, sections: list[Any], metrics: list[Any]) -> Report:
    models, data = (list(dict.fromkeys(getattr(one, kind) for one in sections)) for kind in ("model", "data"))
    return Report(
        title=f"{_listed(models, 'models')} on {_listed(data, 'data sets')}",
        sections=sections,
        metrics={"results": metrics},
        made_with={
            "command": " ".join(sys.argv),
            "rewho": rewho_version(),
            "date": time.strftime("%Y-%m-%d"),
            "seed": str(settings.seed),
            "embedding": "mean of image and mirror image" if settings.flip else "image alone",
        },
        settings=plain(settings),
    )
