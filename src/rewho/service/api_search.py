"""The API's routes of searches, sightings, crops and cameras."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from rewho.data.images import check_header
from rewho.gallery.inputs import parse_time
from rewho.gallery.query import Box
from rewho.gallery.records import Found
from rewho.service.access import Identity, Operator, Viewer
from rewho.service.answers import found_out, read_cursor, read_filters, sighting_out
from rewho.service.forms import Form, read_form, whole
from rewho.service.problems import Refusal
from rewho.service.schemas import (
    API,
    MOST_ID,
    CameraOut,
    CropOut,
    FiltersIn,
    FoundOut,
    JudgementsIn,
    SearchIn,
    SightingOut,
    SightingsOut,
)
from rewho.service.state import State, state_of

router = APIRouter(prefix=API, tags=["search"])
Number = Annotated[int, Path(ge=0, le=MOST_ID)]

_IMAGES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "box": {"type": "string", "description": "Left, top, right, bottom in pixels, with commas."},
                        "camera": {"type": "string", "description": "Name of the images' camera."},
                        "time": {"type": "string", "description": "ISO 8601: when they were taken."},
                        "count": {"type": "integer", "minimum": 1, "maximum": 200},
                        "cameras": {"type": "array", "items": {"type": "string"}},
                        "after": {"type": "string"},
                        "before": {"type": "string"},
                    },
                }
            }
        },
    }
}


@router.post("/searches", response_model=FoundOut, operation_id="search")
def search(request: Request, user: Viewer, body: SearchIn) -> FoundOut:
    """Search with sightings, a crop, or an earlier search. Sent twice it changes nothing but the audit."""
    state = state_of(request)
    with state.place():
        found = state.gallery.search(
            count=body.count,
            filters=read_filters(body.filters),
            per=body.per,
            after=read_cursor(body.next),
            sightings=body.sightings,
            crop=body.crop,
            search=body.search,
            by=user.actor,
        )
    return found_out(found)


@router.post("/searches/images", response_model=FoundOut, operation_id="search_images", openapi_extra=_IMAGES)
async def search_images(request: Request, user: Viewer) -> FoundOut:
    """Search with one image, or with several of one person."""
    form = await read_form(request)
    images = await form.files("images")
    count = whole(form.text("count", "20"), "count", 200)
    filters = FiltersIn(cameras=form.texts("cameras"), after=form.text("after")[:64], before=form.text("before")[:64])
    return found_out(await run_in_threadpool(search_by_images, state_of(request), user, images, form, count, filters))


def search_by_images(
    state: State, user: Identity, images: list[bytes], form: Form, count: int, filters: FiltersIn
) -> Found:
    """Return the result of a search with uploaded images; their headers are read before anything is decoded."""
    most = state.limits.images
    if not 1 <= len(images) <= most:
        raise Refusal(400 if not images else 413, f"images: expected 1 to {most}, got {len(images)}.")
    for content in images:
        check_header(content, "image", round(state.limits.pixels * 1e6))
    time = parse_time(form.text("time")) if form.text("time") else None
    box = read_box(form.text("box"))
    for content in images:
        takes, most_mb = state.gallery.decoding_bytes(content, boxed=box is not None) / 1e6, state.limits.decoding
        if takes > most_mb:
            fix = "Save it as a plain JPEG: not progressive, without transparency; or make it smaller."
            detail = (
                f"image: expected one that takes at most {most_mb:g} MB to decode, got one of {takes:.0f} MB. {fix}"
            )
            raise Refusal(413, detail)
    with state.place():
        with state.decoding:  # one after the other: a decoded photo takes more memory than all requests
            query = state.gallery.query(images, box=box, camera=form.text("camera"), time=time, by=user.actor)
        return state.gallery.search(query, count=count, filters=read_filters(filters), by=user.actor)


def read_box(text: str) -> Box | None:
    """Return a box from four numbers between commas, None where there is none."""
    if not text:
        return None
    try:
        left, top, right, bottom = (float(word) for word in text.split(","))
    except ValueError:
        raise Refusal(400, f"box: expected left,top,right,bottom in pixels, got {text[:60]!r}.") from None
    if not all(abs(side) < 1e6 for side in (left, top, right, bottom)):
        raise Refusal(400, "box: expected sides within the image, got larger numbers.")
    return left, top, right, bottom


@router.put("/searches/{search:number}/judgements", status_code=204, operation_id="judge")
def judge(request: Request, user: Operator, search: Number, body: JudgementsIn) -> Response:
    """Judge results: yes, no, skip. A "no" never comes back for this query."""
    state_of(request).gallery.judge(search, body.verdicts, by=user.actor)
    return Response(status_code=204)


@router.get("/sightings", response_model=SightingsOut, operation_id="list_sightings")
def list_sightings(
    request: Request,
    user: Viewer,
    count: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=0, le=MOST_ID)] = None,
    camera: Annotated[list[str] | None, Query(max_length=1000)] = None,
) -> SightingsOut:
    """List sightings, the last added first."""
    found = state_of(request).gallery.browse(count, before=before, cameras=camera or (), by=user.actor)
    last = found[-1].id if len(found) == count else None
    return SightingsOut(items=[sighting_out(one) for one in found], next=last)


@router.get("/sightings/{sighting:number}", response_model=SightingOut, operation_id="read_sighting")
def read_sighting(request: Request, user: Viewer, sighting: Number) -> SightingOut:
    """Return a sighting."""
    return sighting_out(state_of(request).gallery.sightings([sighting], by=user.actor)[0])


@router.get("/sightings/{sighting:number}/crops", response_model=list[CropOut], operation_id="list_crops")
def list_crops(request: Request, user: Viewer, sighting: Number) -> list[CropOut]:
    """Return the crops of a sighting in the order of time."""
    crops = state_of(request).gallery.crops(sighting, by=user.actor)
    return [CropOut(**one._asdict()) for one in crops]


_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "A JPEG image with hidden faces."},
    304: {"description": "It is still the one with this ETag."},
}


@router.get("/crops/{crop:number}/thumbnail", response_class=Response, responses=_JPEG, operation_id="thumbnail")
def thumbnail(
    request: Request, user: Viewer, crop: Number, proof: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Return the thumbnail of a crop. The view is recorded in the audit, unless its whole page was."""
    state = state_of(request)
    recorded = state.shown(user.actor.who, crop, proof) if proof else False
    content = state.gallery.thumbnail(crop, by=user.actor, record=not recorded)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="image/jpeg")


@router.get("/crops/{crop:number}/moment", response_class=Response, responses=_JPEG, operation_id="moment")
def moment(request: Request, user: Viewer, crop: Number) -> Response:
    """Return the frame that a crop was cut out of, with everybody else hidden; the view is in the audit."""
    state = state_of(request)
    with state.place():
        content = state.gallery.moments.view(crop, by=user.actor)
    return Response(content, headers={"Cache-Control": "private, no-store"}, media_type="image/jpeg")


@router.get("/cameras", response_model=list[CameraOut], operation_id="list_cameras")
def list_cameras(request: Request, user: Viewer) -> list[CameraOut]:
    """List the cameras that the user may see."""
    return [CameraOut(**one._asdict()) for one in state_of(request).gallery.cameras(by=user.actor)]
