"""What the API takes and gives, as it is described in its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

API = "/api/v1"
Id = int
Verdict = Literal["yes", "no", "skip"]
Role = Literal["viewer", "operator", "admin"]
MOST_ID = 2**53 - 1
"""Largest number of anything: the largest that clients which count in floats hold exactly."""
Number = Annotated[int, Field(ge=0, le=MOST_ID)]


class _Digits(Convertor[int]):
    """A number in a path: another word there is a path that does not exist, and digits without end are not read."""

    regex = "[0-9]{1,16}"

    def convert(self, value: str) -> int:
        """Return the number that was written."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Return the number as it is written."""
        return str(value)


register_url_convertor("number", _Digits())


class Body(BaseModel):
    """A body of a request; unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


class FiltersIn(Body):
    """Which sightings are searched through."""

    cameras: list[str] = Field(default=[], max_length=1000, description="Names of cameras; empty is every camera.")
    after: str = Field(
        default="", max_length=64, description="ISO 8601, or seconds since 1970: sightings that end then or later."
    )
    before: str = Field(default="", max_length=64, description="Sightings that begin earlier than this.")
    people: list[Number] = Field(default=[], max_length=1000, description="Numbers of people; empty is everybody.")
    cases: list[Number] = Field(default=[], max_length=1000, description="Numbers of cases; empty is all.")
    sources: list[Number] = Field(default=[], max_length=1000, description="Numbers of sources; empty is all.")
    new: bool = Field(default=False, description="Only what this user has not been shown for this query.")


class SearchIn(Body):
    """A search with what is in the gallery; exactly one of sightings, crop and search."""

    sightings: list[Number] = Field(default=[], max_length=100, description="Numbers of sightings of one person.")
    crop: int | None = Field(default=None, ge=0, le=MOST_ID, description="Number of a crop.")
    search: int | None = Field(
        default=None, ge=0, le=MOST_ID, description="Number of an earlier search, for its next page."
    )
    count: int = Field(default=20, ge=1, le=200, description="Candidates of a page.")
    next: str = Field(default="", max_length=64, description="`next` of the page before.")
    per: Literal["sighting", "crop"] = Field(default="sighting", description="Search sightings, or single crops.")
    filters: FiltersIn = FiltersIn()


class SightingOut(BaseModel):
    """A sighting: a track, or a crop that has none."""

    id: int
    camera: str | None
    began: float | None = Field(description="Seconds since 1970, UTC.")
    ended: float | None = Field(description="Seconds since 1970, UTC.")
    crops: int
    best: int | None = Field(description="Number of the best crop.")
    person: int | None
    name: str
    source: int
    state: Literal["shown", "hidden", "withdrawn"]


class CandidateOut(BaseModel):
    """A row of a result: a candidate, never a certainty."""

    sighting: SightingOut
    crop: int | None
    similarity: float = Field(description="Cosine, -1 to 1.")
    verdict: Literal["", "yes", "no", "skip"]
    note: str
    score: float | None = Field(description="The similarity on the scale of the calibration's thresholds.")
    strangers: int | None = Field(description="At most 1 of so many strangers looks as alike; null where unknown.")
    alike: str = Field(description="The same in words.")


class FoundOut(BaseModel):
    """The result of a search."""

    search: int = Field(description="Its number, for judgements and the next page.")
    candidates: list[CandidateOut]
    total: int = Field(description="How many sightings the filters leave.")
    normalised: bool = Field(description="Whether embeddings were compared relative to their cameras' means.")
    notes: list[str]
    calibration: str = Field(description="The threshold, and what it was measured with; or that there is none.")
    model: str
    version: int
    next: str | None = Field(description="Where the next page begins; null at the end.")


class SightingsOut(BaseModel):
    """A page of sightings."""

    items: list[SightingOut]
    next: int | None = Field(description="Pass it as `before` for the next page; null at the end.")


class CropOut(BaseModel):
    """A crop."""

    id: int
    sighting: int
    name: str
    number: int | None
    time: float | None
    box: tuple[float, ...] | None
    quality: float
    sha256: str
    licence: str


class CameraOut(BaseModel):
    """A camera that the user may see."""

    id: int
    name: str
    zone: str
    sightings: int
    crops: int


class JudgementsIn(Body):
    """Verdicts on results of a search, by the number of the sighting."""

    verdicts: dict[Number, Verdict] = Field(
        min_length=1, max_length=1000, json_schema_extra={"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,14})$"}}
    )


class MeOut(BaseModel):
    """Who asks."""

    name: str
    role: Role
    cameras: list[str] | None = Field(description="Names of the cameras that the user sees; null is all.")


class UserIn(Body):
    """A new user."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=256)
    role: Role
    cameras: list[str] | None = Field(
        default=None, max_length=1000, description="null is all, also those that come later."
    )


class UserChange(Body):
    """What is to be changed of a user."""

    role: Role | None = None
    password: str | None = Field(default=None, max_length=256)
    cameras: list[str] | None = Field(default=None, max_length=1000)
    all_cameras: bool | None = None
    disabled: bool | None = None


class UserOut(BaseModel):
    """A user."""

    id: int
    name: str
    role: Role
    cameras: list[int] | None
    disabled: bool


class TokenIn(Body):
    """A new token of a program, in the name of the user who asks."""

    name: str = Field(min_length=1, max_length=100)
    days: float | None = Field(default=None, gt=0, le=3660)


class TokenOut(BaseModel):
    """A new token; it is shown this once."""

    token: str


class RecordOut(BaseModel):
    """A record of the audit."""

    id: int
    time: float
    who: str
    purpose: str
    action: str
    asked: dict[str, object]
    ids: dict[str, list[int]]


class RecordsOut(BaseModel):
    """A page of the audit, the newest first."""

    items: list[RecordOut]
    next: int | None
    head: str = Field(description="Number and hash of the last record: note it elsewhere to prove it later.")


class JobIn(Body):
    """Long work."""

    kind: Literal["add", "group", "calibrate", "adapt"]
    path: str = Field(default="", max_length=1000, description="add: what, below the folder of sources.")
    basis: Literal["auto", "labels", "tracks"] = Field(default="auto", description="calibrate: with what.")
    camera: str = Field(default="", max_length=200)
    start: str = Field(default="", max_length=64, description="ISO 8601: time of the images.")
    zone: str = Field(default="UTC", max_length=64)


class JobOut(BaseModel):
    """A job."""

    id: int
    kind: str
    who: str
    state: Literal["waiting", "running", "done", "failed", "stopped"]
    done: int
    total: int | None
    message: str
    made: float
    began: float | None
    ended: float | None


class JobsOut(BaseModel):
    """A page of jobs, the newest first."""

    items: list[JobOut]
    next: int | None


class PersonOut(BaseModel):
    """A person: sightings that were named, or are proposed, as those of one human being."""

    id: int
    name: str = Field(description="Empty for one that was only proposed.")
    sightings: int
    best: int | None = Field(description="Number of a crop to show.")
    cameras: int = Field(description="On how many cameras.")


class NameIn(Body):
    """A name for a person, or for sightings that become one."""

    name: str = Field(max_length=200)
    person: int | None = Field(default=None, ge=0, le=MOST_ID)
    sightings: list[Number] = Field(default=[], max_length=1000)


class PeopleIn(Body):
    """People."""

    people: list[Number] = Field(min_length=2, max_length=100)


class SightingsIn(Body):
    """Sightings."""

    sightings: list[Number] = Field(min_length=1, max_length=1000)
    note: str = Field(default="", max_length=1000)


class PersonMade(BaseModel):
    """The person that a change made, or changed."""

    person: int


class StayOut(BaseModel):
    """A sighting in a timeline."""

    sighting: SightingOut
    gap: float | None = Field(description="Seconds since the sighting before.")


class EventOut(BaseModel):
    """A change of people, which can be undone."""

    id: int
    time: float
    who: str
    kind: str
    undoes: int | None
    undone: int | None


class EventMade(BaseModel):
    """The event that undid another one."""

    event: int


class CaseIn(Body):
    """A new case; a name that is there is that case."""

    name: str = Field(min_length=1, max_length=200)
    purpose: str = Field(min_length=1, max_length=1000)


class CaseOut(BaseModel):
    """A case."""

    id: int
    name: str
    purpose: str
    opened: float
    who: str
    closed: float | None
    sightings: int


class CaseSighting(BaseModel):
    """A sighting in a case."""

    sighting: int
    note: str


class ReceiptOut(BaseModel):
    """A signed receipt of what was erased."""

    receipt: dict[str, object]


class PairOut(BaseModel):
    """Two sightings to compare: one person, or two?"""

    one: SightingOut
    other: SightingOut
    distance: float = Field(description="Jaccard distance, 0 to 1; the nearest to the limit of grouping come first.")


class AnswerIn(Body):
    """An answer about a pair; the same as a judgement on a result."""

    one: int = Field(ge=0, le=MOST_ID)
    other: int = Field(ge=0, le=MOST_ID)
    answer: Literal["same", "different", "skip"]


class CalibrationOut(BaseModel):
    """What similarities mean in this gallery."""

    id: int
    made: float = Field(description="Seconds since 1970, UTC.")
    who: str
    version: int = Field(description="State of the gallery that it was measured with.")
    text: str = Field(description="The threshold in one line.")
    content: dict[str, object] = Field(description="Thresholds, what searches miss, and the DET curve.")


class SourceOut(BaseModel):
    """What was added at once: a folder, a table, a crop set, a video."""

    id: int
    kind: str
    path: str
    status: Literal["adding", "complete", "expired"]
    added: float = Field(description="Seconds since 1970, UTC.")
    expires: float | None = Field(description="When it is erased, in seconds since 1970, UTC; null keeps it.")


class RetentionIn(Body):
    """When a source is erased."""

    expires: str = Field(max_length=64, description="ISO 8601, or seconds since 1970; empty keeps it.")
