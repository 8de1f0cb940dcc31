"""Work with galleries: create, add, search, judge, people, cases, erasure, audit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rewho.core.artifact import plain, try_file, write_file, write_json
from rewho.core.check import UserError
from rewho.core.files import VIDEO_ENDINGS
from rewho.core.progress import Progress, say
from rewho.core.runtime import StopRequest, run_in_processes
from rewho.core.text import aligned_table, quantity
from rewho.crops.shards import CropSet
from rewho.crops.terms import TERMS, read_terms
from rewho.gallery.gallery import Gallery
from rewho.gallery.inputs import Labels, open_input, parse_range, parse_time, show_time
from rewho.gallery.records import Actor, Added, Filters
from rewho.gallery.tables import (
    as_json,
    audit_text,
    calibration_text,
    group_text,
    receipts_text,
    review_text,
    search_text,
    timeline_text,
)
from rewho.settings import CropSettings, GallerySettings
from rewho.settings.command_line import fill
from rewho.settings.fields import check
from rewho.settings.recipe import read_recipe


class Answer(NamedTuple):
    """What an action returns: values for JSON, and text."""

    value: Any
    text: str


Work = Callable[[Gallery, GallerySettings, Actor], Answer]


@run_in_processes
def run(settings: GallerySettings) -> str:
    """Run the action on the gallery; return text or JSON to print."""
    check(settings)
    user = Actor(settings.user or Actor().who, settings.purpose)
    if settings.out is not None and settings.action != "export":
        try_file(settings.out)  # before what cannot be done again
    if settings.action == "create":
        answer = _create(settings, user)
    else:
        with Gallery(settings.folder, settings.device) as gallery:
            answer = ACTIONS[settings.action](gallery, settings, user)
    if settings.json:
        return json.dumps(plain(as_json(answer.value)), indent=1, ensure_ascii=False, allow_nan=False)
    return answer.text


def _create(settings: GallerySettings, user: Actor) -> Answer:
    named = {name: getattr(settings, name) for name in ("precision", "store", "device")}
    with Gallery.create(settings.folder, settings.model, terms=_terms(settings), by=user, **named) as gallery:
        sha256 = gallery.model_sha256
        value = {"folder": str(settings.folder), "model": sha256, "dimensions": gallery.size}
    return Answer(value, f"{settings.folder}: a new gallery of model {sha256[:12]}…")


def _terms(settings: GallerySettings) -> dict[str, str]:
    """Return the terms that are given, also those of a file; none are needed where the source brings its own."""
    terms = settings.terms if settings.terms.file is None else read_terms(settings.terms)
    return {name: value for name in TERMS if (value := str(getattr(terms, name))).strip()}


def _add(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    if not settings.items:
        raise _missing("add", "what to add", "GALLERY FOLDER")
    done = []
    for item in map(Path, settings.items):
        if item.suffix.lower() in VIDEO_ENDINGS:
            with tempfile.TemporaryDirectory(prefix="rewho-") as place:
                crops = _crop(gallery, item, Path(place) / "crops", settings)
                done.append(_add_one(gallery, crops, settings, user, item))
        else:
            done.append(_add_one(gallery, item, settings, user))
    lines = []
    for name, added in zip(settings.items, done, strict=True):
        counts = {"already there": added.present, "left out because somebody was forgotten": added.suppressed}
        more = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        lines.append(f"{name}: {quantity(added.sightings, 'new sightings')} of {quantity(added.crops, 'crops')}{more}")
        lines += [f"note: {note}" for note in added.notes]
    return Answer(done, "\n".join(lines))


def _add_one(gallery: Gallery, item: Path, settings: GallerySettings, user: Actor, video: Path | None = None) -> Added:
    start = parse_time(settings.start, settings.zone, "--start") if settings.start else None
    beside = () if video is None else tuple(Path(one).name for one in settings.items)
    labels = Labels(settings.camera, start, settings.pattern, settings.videos, settings.zone, beside)
    source = open_input(item, labels)
    source = source if video is None else replace(source, kind="video", path=str(video))
    terms = _terms(settings)
    progress = Progress("add", source.count, unit="crops")
    try:
        with StopRequest() as stop:
            return gallery.add(
                source,
                zone=settings.zone,
                terms=terms or None,
                expires=parse_time(settings.expires, settings.zone, "--expires") if settings.expires else None,
                by=user,
                stop=lambda: stop.wanted,
                progress=progress.advance,
            )
    finally:
        progress.close()


def _crop(gallery: Gallery, video: Path, out: Path, settings: GallerySettings) -> Path:
    """Cut the people out of a video, with the same terms, into a folder that is removed afterwards."""
    from rewho.stages.crop import run as crop

    values = {} if settings.crop_recipe is None else read_recipe(settings.crop_recipe, smoke=False)
    given = _terms(settings)
    terms = {**json.loads(gallery.database.read("terms", "{}")), **given}
    values |= {f"terms.{name}": value for name, value in terms.items()}
    made = crop(replace(fill(CropSettings, values, "crop"), videos=(video,), out=out))
    if not len(CropSet.open(made)):
        fix = "Check the detector's settings, in --crop_recipe."
        raise UserError(str(video), expected="a video with people", got="no crop that the rules keep", fix=fix)
    return made


def _search(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    begin, end = parse_range(settings.after, settings.before, settings.zone)
    filters = Filters(
        cameras=settings.cameras,
        after=begin,
        before=end,
        sources=settings.sources,
        people=settings.people,
        cases=settings.cases,
        new=settings.new,
    )
    box = settings.box
    query = gallery.query(
        [Path(item) for item in settings.items] or None,
        sightings=settings.sightings,
        crop=settings.crop,
        search=settings.search,
        box=(box[0], box[1], box[2], box[3]) if box else None,
        camera=settings.camera,
        time=parse_time(settings.start, settings.zone, "--start") if settings.start else None,
        by=user,
    )
    after = (settings.page_after[0], int(settings.page_after[1])) if settings.page_after else None
    found = gallery.search(
        query,
        count=settings.count,
        filters=filters,
        per=settings.per,
        after=after,
        normalise=settings.normalise,
        refine=settings.refine,
        by=user,
    )
    return Answer(found, search_text(found, _zones(gallery), str(settings.folder)))


def _zones(gallery: Gallery) -> dict[str, str]:
    return {one.name: one.zone for one in gallery.cameras()}


def _judge(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    given = {"yes": settings.yes, "no": settings.no, "skip": settings.skip}
    verdicts: dict[int, str] = {}
    for verdict, sightings in given.items():
        for one in sightings:
            if one in verdicts:
                got, fix = f"{verdicts[one]} and {verdict}", "Leave one of them out."
                raise UserError(f"sighting {one}", expected="one verdict", got=got, fix=fix)
            verdicts[one] = verdict
    if not verdicts:
        raise _missing("judge", "verdicts", "GALLERY SEARCH --yes 3 8 --no 5")
    gallery.judge(_number("judge", settings.items, "a search"), verdicts, by=user)
    counted = ", ".join(f"{len(some)} {verdict}" for verdict, some in given.items() if some)
    return Answer(verdicts, f"search {settings.items[0]}: {counted}")


def _name(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    name = " ".join(settings.items)
    before = {one.person for one in gallery.sightings(settings.sightings, by=user)} if settings.sightings else set()
    person = gallery.people.name(name, person=settings.person, sightings=settings.sightings, by=user)
    left = sorted(one for one in before if one not in (None, person))
    taken = f"; its sightings were taken out of person {', '.join(map(str, left))}" if left else ""
    return Answer(
        {"person": person, "name": name, "taken_from": left}, f"person {person} is {name or 'unnamed'}{taken}"
    )


def _merge(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    people = [_number("merge", [item], "a person") for item in settings.items]
    if len(people) != 1:
        person = gallery.people.merge(people, by=user)
        return Answer({"person": person}, f"person {person} now is {', '.join(settings.items)}")
    found = gallery.people.suggest_merges(people[0], settings.count, by=user)
    rows = [(one.id, f"{alike:.4f}", one.name or "-", one.sightings) for one, alike in found]
    return Answer(found, aligned_table(("person", "cosine", "name", "sightings"), *rows))


def _split(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    person = gallery.people.split(settings.sightings, by=user)
    return Answer({"person": person}, f"person {person} is new, of {quantity(len(settings.sightings), 'sightings')}")


def _take_out(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    chosen = _chosen(settings, "take-out")
    gallery.people.take_out(chosen, by=user)
    return Answer({"sightings": chosen}, f"{quantity(len(chosen), 'sightings')} taken out")


def _undo(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    if settings.items:
        event = gallery.people.undo(_number("undo", settings.items, "an event"), by=user)
        return Answer({"event": event}, f"event {event} undid event {settings.items[0]}")
    events = gallery.people.events(settings.count)
    rows = [(one.id, show_time(one.time), one.who, one.kind, one.undoes or "-", one.undone or "-") for one in events]
    return Answer(events, aligned_table(("event", "time", "who", "kind", "undoes", "undone by"), *rows))


def _timeline(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    stays = gallery.people.timeline(_number("timeline", settings.items, "a person"), by=user)
    return Answer(stays, timeline_text(stays, _zones(gallery)))


def _case(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    if not settings.items:
        cases = gallery.cases.list(by=user)
        rows = [(one.id, one.name, one.purpose, show_time(one.opened), one.who, one.sightings) for one in cases]
        return Answer(cases, aligned_table(("case", "name", "purpose", "opened", "who", "sightings"), *rows))
    name = " ".join(settings.items)
    case = gallery.cases.open(name, settings.purpose, by=user)
    if settings.sightings and settings.drop:
        gallery.cases.drop(case, settings.sightings, by=user)
    elif settings.sightings:
        gallery.cases.collect(case, settings.sightings, settings.note, by=user)
    inside = gallery.cases.sightings(case, by=user)
    listed = ", ".join(str(number) for number, _ in inside) or "none yet"
    return Answer({"case": case, "sightings": inside}, f"case {case}, {name}: sightings {listed}")


def _export(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    case = _number("export", settings.items, "a case")
    out = gallery.cases.export(case, settings.out or Path(f"case-{case}.zip"), by=user)
    return Answer({"file": str(out)}, str(out))


def _hide(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    chosen = _chosen_or_person(gallery, settings, user)
    gallery.erasure.hide(chosen, by=user)
    return Answer(
        {"sightings": chosen}, f"{quantity(len(chosen), 'sightings')} hidden; `rewho gallery undo` shows them again"
    )


def _withdraw(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    return _receipt(settings, [gallery.erasure.withdraw(_chosen_or_person(gallery, settings, user), by=user)])


def _forget(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    receipt = gallery.erasure.forget(settings.sightings, person=settings.person, source=settings.source, by=user)
    return _receipt(settings, [receipt])


def _expire(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    return _receipt(settings, list(gallery.erasure.expire(by=user)))


def _receipt(settings: GallerySettings, signed: list[dict[str, Any]]) -> Answer:
    if settings.out is not None:
        say(str(write_json(settings.out, signed)))
    return Answer(signed, receipts_text(signed))


def _audit(gallery: Gallery, settings: GallerySettings, _user: Actor) -> Answer:
    records = gallery.audit(
        action=settings.by_action,
        who=settings.by_user,
        sightings=settings.sightings,
        person=settings.person,
        limit=settings.count,
    )
    return Answer(records, f"{audit_text(records)}\nhead: {gallery.audit_head()}")


def _verify(gallery: Gallery, settings: GallerySettings, _user: Actor) -> Answer:
    wrong = gallery.verify(settings.head)
    if wrong:
        raise UserError(
            f"{settings.folder}: {len(wrong)} finding{'s' if len(wrong) > 1 else ''}",
            expected="what was written",
            got="something else:\n    " + "\n    ".join(wrong[:20]),
            fix="Restore the folder from a copy.",
        )
    return Answer({"damage": wrong}, f"{settings.folder}: everything is as it was written")


def _group(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    found = gallery.group(limit=settings.limit, by=user)
    return Answer(found, group_text(found))


def _review(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    if settings.items or settings.answer:
        both = [_number("review", [item], "a sighting") for item in settings.items]
        if len(both) != 2 or not settings.answer:
            raise _missing("review", "two sightings and --answer", "GALLERY 3 8 --answer same")
        gallery.answer(both[0], both[1], settings.answer, by=user)
        return Answer({"sightings": both, "answer": settings.answer}, f"{both[0]} and {both[1]}: {settings.answer}")
    pairs = gallery.review(settings.count, limit=settings.limit, by=user)
    return Answer(pairs, review_text(pairs, str(settings.folder)))


def _calibrate(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    made = gallery.calibrate(settings.basis, seed=settings.seed, by=user)
    if settings.out is not None:
        from rewho.report.figures import det_plot  # matplotlib takes a second to import

        curve = det_plot({made.content["scores"]: made.content["det"]})
        write_file(settings.out, lambda file: file.write(curve.svg))
        say(str(settings.out))
    return Answer(made, calibration_text(made, {one.id: one.name for one in gallery.cameras(by=user)}))


def _model(gallery: Gallery, settings: GallerySettings, user: Actor) -> Answer:
    if not settings.items:
        return Answer({"model": gallery.model_sha256}, f"{settings.folder}: model {gallery.model_sha256}")
    done = gallery.use_model(" ".join(settings.items), by=user)
    text = f"{quantity(done.crops, 'crops')} embedded again with model {done.model[:12]}…; {gallery.calibration_text()}"
    return Answer(done, f"{settings.folder}: {text if done.model != done.before else 'it has this model already'}")


def _stats(gallery: Gallery, *_: object) -> Answer:
    return Answer(found := gallery.stats(), json.dumps(plain(found), indent=1, ensure_ascii=False))


def _number(action: str, items: Sequence[str], what: str) -> int:
    if len(items) != 1 or not items[0].isdecimal():
        got = " ".join(items) or "nothing"
        fix = f"Write `rewho gallery {action} GALLERY 7`."
        raise UserError(f"rewho gallery {action}", expected=f"the number of {what}", got=got, fix=fix)
    return int(items[0])


def _chosen(settings: GallerySettings, action: str) -> list[int]:
    if not settings.sightings:
        raise _missing(action, "sightings", "GALLERY --sightings 3 8")
    return list(settings.sightings)


def _chosen_or_person(gallery: Gallery, settings: GallerySettings, user: Actor) -> list[int]:
    if settings.person is not None:
        return list(gallery.people.sightings(settings.person, by=user))
    return _chosen(settings, settings.action)


def _missing(action: str, what: str, example: str) -> UserError:
    return UserError(
        f"rewho gallery {action}", expected=what, got="nothing", fix=f"Write `rewho gallery {action} {example}`."
    )


ACTIONS: dict[str, Work] = {
    "add": _add,
    "search": _search,
    "judge": _judge,
    "name": _name,
    "merge": _merge,
    "split": _split,
    "take-out": _take_out,
    "undo": _undo,
    "timeline": _timeline,
    "case": _case,
    "export": _export,
    "hide": _hide,
    "withdraw": _withdraw,
    "forget": _forget,
    "expire": _expire,
    "audit": _audit,
    "calibrate": _calibrate,
    "group": _group,
    "review": _review,
    "verify": _verify,
    "model": _model,
    "stats": _stats,
}
