"""The API's routes of people, cases, erasure and the audit."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from rewho.service.access import Admin, Operator, Viewer, need_everywhere
from rewho.service.answers import Key, answer_once, sighting_out
from rewho.service.evidence import evidence_of
from rewho.service.schemas import (
    API,
    MOST_ID,
    CaseIn,
    CaseOut,
    CaseSighting,
    EventMade,
    EventOut,
    NameIn,
    PeopleIn,
    PersonMade,
    PersonOut,
    ReceiptOut,
    RecordOut,
    RecordsOut,
    SightingsIn,
    StayOut,
)
from rewho.service.state import state_of

router = APIRouter(prefix=API, tags=["people and cases"])
Number = Annotated[int, Path(ge=0, le=MOST_ID)]


@router.get("/people", response_model=list[PersonOut], operation_id="list_people")
def list_people(request: Request, user: Viewer) -> list[PersonOut]:
    """List the people of whom the user sees a sighting."""
    return [PersonOut(**one._asdict()) for one in state_of(request).gallery.people.list(by=user.actor)]


@router.post("/people", response_model=PersonMade, status_code=201, operation_id="name_person")
def name_person(request: Request, user: Operator, body: NameIn, key: Key = "") -> Response:
    """Name a person, or make one of sightings."""
    people = state_of(request).gallery.people

    def name() -> PersonMade:
        made = people.name(body.name, person=body.person, sightings=body.sightings, by=user.actor)
        return PersonMade(person=made)

    return answer_once(request, user, key, body, 201, name)


@router.get("/people/{person:number}/timeline", response_model=list[StayOut], operation_id="timeline")
def timeline(request: Request, user: Viewer, person: Number) -> list[StayOut]:
    """Return where and when a person was seen."""
    stays = state_of(request).gallery.people.timeline(person, by=user.actor)
    return [StayOut(sighting=sighting_out(one.sighting), gap=one.gap) for one in stays]


@router.post("/people/merge", response_model=PersonMade, operation_id="merge_people")
def merge_people(request: Request, user: Operator, body: PeopleIn, key: Key = "") -> Response:
    """Make several people one: the first."""
    people = state_of(request).gallery.people
    return answer_once(
        request, user, key, body, 200, lambda: PersonMade(person=people.merge(body.people, by=user.actor))
    )


@router.post("/people/split", response_model=PersonMade, operation_id="split_person")
def split_person(request: Request, user: Operator, body: SightingsIn, key: Key = "") -> Response:
    """Make some sightings of one person a person of their own."""
    people = state_of(request).gallery.people
    return answer_once(
        request, user, key, body, 200, lambda: PersonMade(person=people.split(body.sightings, by=user.actor))
    )


@router.get("/events", response_model=list[EventOut], operation_id="list_events")
def list_events(request: Request, user: Operator, count: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[EventOut]:
    """List the last changes of people, the newest first."""
    need_everywhere(user)
    return [EventOut(**one._asdict()) for one in state_of(request).gallery.people.events(count)]


@router.post("/events/{event:number}/undo", response_model=EventMade, operation_id="undo")
def undo(request: Request, user: Operator, event: Number) -> EventMade:
    """Undo a change. Asked twice it is refused, because it is undone already."""
    return EventMade(event=state_of(request).gallery.people.undo(event, by=user.actor))


@router.get("/cases", response_model=list[CaseOut], operation_id="list_cases")
def list_cases(request: Request, user: Viewer) -> list[CaseOut]:
    """List cases."""
    return [CaseOut(**one._asdict()) for one in state_of(request).gallery.cases.list(by=user.actor)]


@router.post("/cases", response_model=CaseOut, status_code=201, operation_id="open_case")
def open_case(request: Request, user: Operator, body: CaseIn, key: Key = "") -> Response:
    """Open a case."""
    cases = state_of(request).gallery.cases

    def make() -> CaseOut:
        number = cases.open(body.name, body.purpose, by=user.actor)
        return next(CaseOut(**one._asdict()) for one in cases.list(by=user.actor) if one.id == number)

    return answer_once(request, user, key, body, 201, make)


@router.get("/cases/{case:number}/sightings", response_model=list[CaseSighting], operation_id="list_case_sightings")
def list_case_sightings(request: Request, user: Viewer, case: Number) -> list[CaseSighting]:
    """Return the sightings of a case that the user may see."""
    found = state_of(request).gallery.cases.sightings(case, by=user.actor)
    return [CaseSighting(sighting=number, note=note) for number, note in found]


@router.put("/cases/{case:number}/sightings", status_code=204, operation_id="collect")
def collect(request: Request, user: Operator, case: Number, body: SightingsIn) -> Response:
    """Put sightings into a case."""
    state_of(request).gallery.cases.collect(case, body.sightings, body.note, by=user.actor)
    return Response(status_code=204)


@router.delete("/cases/{case:number}/sightings/{sighting:number}", status_code=204, operation_id="drop")
def drop(request: Request, user: Operator, case: Number, sighting: Number) -> Response:
    """Take a sighting out of a case."""
    state_of(request).gallery.cases.drop(case, [sighting], by=user.actor)
    return Response(status_code=204)


_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}, "description": "A zip file."}}


@router.post("/cases/{case:number}/evidence", response_class=Response, responses=_ZIP, operation_id="evidence")
def evidence(request: Request, user: Operator, case: Number) -> Response:
    """Return a case as a zip file: images with hidden faces, times, hashes, a signed manifest."""
    return evidence_of(state_of(request), case, user.actor)


@router.post("/sightings/hide", status_code=204, operation_id="hide")
def hide(request: Request, user: Operator, body: SightingsIn) -> Response:
    """Take sightings out of results; it can be undone."""
    state_of(request).gallery.erasure.hide(body.sightings, by=user.actor)
    return Response(status_code=204)


@router.post("/sightings/forget", response_model=ReceiptOut, operation_id="forget")
def forget(request: Request, user: Admin, body: SightingsIn) -> ReceiptOut:
    """Erase sightings, prove it, and return the signed receipt. It cannot be undone."""
    return ReceiptOut(receipt=state_of(request).gallery.erasure.forget(body.sightings, by=user.actor))


@router.get("/audit", response_model=RecordsOut, operation_id="read_audit")
def read_audit(
    request: Request,
    user: Admin,
    count: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
    action: Annotated[str, Query(max_length=40)] = "",
    who: Annotated[str, Query(max_length=64)] = "",
    sighting: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
) -> RecordsOut:
    """List records of the audit, the newest first: who did what, when and why."""
    need_everywhere(user)
    gallery = state_of(request).gallery
    wanted = () if sighting is None else (sighting,)
    found = gallery.audit(action=action, who=who, sightings=wanted, before=before, limit=count)
    items = [
        RecordOut(
            id=one.id, time=one.time, who=one.who, purpose=one.purpose, action=one.action,
            asked=dict(one.asked), ids={kind: list(some) for kind, some in one.ids.items()},
        )
        for one in found
    ]  # fmt: skip
    return RecordsOut(items=items, next=items[-1].id if len(items) == count else None, head=gallery.audit_head())
