"""A gallery of rendered people whose first results an oracle judged."""

from pathlib import Path

from rewho.gallery.gallery import Gallery
from rewho.rendered import write_people
from rewho.settings import TermsSettings

TERMS = dict.fromkeys(TermsSettings.__dataclass_fields__, "test")


def make_judged(place: Path, model: Path) -> Path:
    """Make a gallery of 24 people on two cameras in a new folder; return its folder."""
    crowd = write_people(
        place / "people", identities=24, test_identities=2, cameras=2, images_per_camera=3, seed=9, workers=0
    )
    with Gallery.create(place / "gallery", model, terms=TERMS, device="cpu") as gallery:
        gallery.add(crowd / "bounding_box_train", pattern=r"_c(?P<camera>\d+)")
        names = {one: Path(name).name[:4] for one, name in gallery.database.rows("SELECT sighting, name FROM crops")}
        for one in list(names)[::3]:
            found = gallery.search(sightings=[one], count=6)
            verdicts = {
                other.sighting.id: "yes" if names[other.sighting.id] == names[one] else "no"
                for other in found.candidates
            }
            gallery.judge(found.search, verdicts)
    return place / "gallery"
