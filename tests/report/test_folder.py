"""The report: all files are there, the page is self-contained and valid, and no name can do anything in it."""

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rewho.core.text import printable
from rewho.rank.thresholds import Interval, OperatingPoint
from rewho.report.content import ChangedQuery, Decision, Gain, Plot, Report, Score, Section, Table
from rewho.report.folder import write_report
from rewho.report.page import page
from rewho.report.rank_sheet import SheetCell, SheetRow
from rewho.report.table_text import markdown, report_tables
from rewho.report.verdict import MEASURE, write_verdict

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "../../etc/passwd",
    "&lt;b&gt;",
    "名前 \udc80 \x00",
    "$\\frac{",
    "",
]
VOID = {"meta", "img", "rect"}
SVG = b'<svg width="240pt" height="120pt" xmlns="http://www.w3.org/2000/svg"></svg>'
DRAWING = SimpleNamespace(svg=SVG, pdf=b"%PDF", png=b"")
FILES = ["cmc.csv", "cmc.png", "index.html", "metrics.json", "per_query.csv", "tables.md", "tables.tex"]


def image(shade, height=128, width=64):
    return np.full((height, width, 3), shade, np.uint8)


def rows(name="query.jpg", count=2):
    verdicts = ("same camera", "hit", "miss", "junk")
    cells = [SheetCell(image(40 * k), verdict, 0.1 * k, f"{name}-{k}") for k, verdict in enumerate(verdicts)]
    return [SheetRow(image(200), name, name, name, cells, note=f"AP {k}.0 %") for k in range(count)]


def section(model="student", data="street", name="cosine", **given):
    defaults = {
        "scores": [Score("Rank-1", 0.625, 0.6, 0.65), Score("mAP (rectangular)", 0.5), Score(name, 0.25, 0.2, 0.3)],
        "queries": 3,
        "gallery": 1234,
        "dropped": {f"without a match {name}": 2, "never": 0},
        "cmc": {name: np.array([0.625, 0.75, 1.0])},
        "per_query": {"query": [name, "b", "c"], "average_precision": [0.5, 0.25, 1.0]},
        "tables": [Table(f"about {name}", ["Ranking", name], [[name, 1234], ["other", 5]])],
        "plots": [
            Plot(
                f"plot {name}",
                DRAWING,
                f"{name}, drawn",
                f"of {name}",
                Table(f"as {name}", ["Camera", name], [[name, "50.0 (7)"]]),
            )
        ]
        * 3,
        "sheet": rows(name),
        "worst": rows(name, 1),
        "notes": [name],
    }
    return Section(model, data, **(defaults | given))


def quick(model="student", data="street", **given):
    """Return a section without curves, whose drawing takes nearly all of the time."""
    return section(model, data, **({"cmc": {}} | given))


def bare(model="student", data="street"):
    return Section(model, data, [], queries=0, gallery=0)


def report(*sections, **given):
    return Report("Evaluation", sections or [section()], metrics={"rank_1": 0.625}, **given)


class Outline(HTMLParser):
    """Collects a page's tags and text, and notices tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "unclosed tags"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_everything_is_written(tmp_path):
    path = write_report(tmp_path / "new" / "report", report())
    folder = tmp_path / "new" / "report"
    assert path == folder / "index.html"
    assert sorted(file.name for file in folder.iterdir()) == [
        "cmc.csv",
        "cmc.png",
        "figures",
        *FILES[2:5],
        "rank_sheets",
        *FILES[5:],
    ]
    sheets = sorted((folder / "rank_sheets").iterdir())
    assert [file.name for file in sheets] == ["1-street-student-queries.jpg", "1-street-student-worst.jpg"]
    for file in [*sheets, folder / "cmc.png"]:
        assert cv2.imread(str(file)) is not None
    assert json.loads((folder / "metrics.json").read_text()) == {"rank_1": 0.625}


def test_the_page_is_self_contained(tmp_path):
    outline = Outline(write_report(tmp_path, report()).read_text())
    images = outline.named("img")
    assert len(images) == 3 + 3 * 5, "three plots; two queries and one worst with four gallery images each"
    for attributes in images:
        kind, data = re.fullmatch(r"data:image/(svg\+xml|jpeg);base64,(.+)", attributes["src"]).groups()
        content = base64.b64decode(data)
        decoded = kind != "svg+xml" and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert content == SVG if kind == "svg+xml" else decoded is not None
        assert attributes["alt"]
    for attributes in outline.named("a"):
        assert (tmp_path / attributes["href"]).is_file(), attributes
    assert not {"script", "link", "iframe", "form", "object"} & {tag for tag, _ in outline.tags}
    text = (tmp_path / "index.html").read_text()
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    policy = next(attributes for attributes in outline.named("meta") if "http-equiv" in attributes)
    assert "default-src 'none'" in policy["content"]


def test_the_number_of_people_stands_beside_every_interval():
    words = Outline(page(report(quick("student", scores=[Score("Rank-1", 0.5, 0.4, 0.6)], people=12)))).text
    assert "40.0 – 60.0 (95 %, 12 people)" in words
    assert "of 12 people against" in words
    alone = Outline(page(report(quick("student", scores=[Score("Rank-1", 0.5)], people=1)))).text
    assert "of 1 person against" in alone
    assert "There is no interval: it takes two people or more." in alone


def test_the_page_says_what_was_given():
    words = Outline(page(report(made_with={"Command": "rewho evaluate"}, settings={"engine": {"device": "cpu"}}))).text
    for expected in (
        "Rank-1 62.5 % 60.0 – 65.0 (95 %)",
        "mAP (rectangular) 50.0 % no interval",
        "3 valid queries against 1,234 gallery images. Dropped: 2 without a match cosine.",
        "Rectangular",
        "Trapezoid",
        "person cosine · camera cosine · AP 0.0 %",
        "– · 0.000",
        "1 · 0.100",
        "2 · 0.200",
        "Worst queries",
        "50.0 (7)",
        "rewho evaluate",
        "engine.device cpu",
        "About the data",
    ):
        assert expected in words, expected
    assert "never" not in words.split("Worst")[0], "a reason that dropped nothing"


def test_candidates_are_described_for_those_who_cannot_see_them():
    alternatives = [attributes["alt"] for attributes in Outline(page(report())).named("img")]
    assert "Query cosine, person cosine · camera cosine · AP 0.0 %" in alternatives
    assert "Rank 1: the same person, distance 0.100, cosine-1" in alternatives
    assert "Rank 2: another person, distance 0.200, cosine-2" in alternatives
    assert "Not ranked: same person and same camera, distance 0.000, cosine-0" in alternatives


def named(name, make, **given):
    """Return a report that holds a name wherever a name can be."""
    sections = [make(name, name, name=name), make("other", name, name=name)]
    return Report(name, sections, {name: name}, {name: name}, {name: name}, [name], **given)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_words(tmp_path, name):
    given, harmless = (named(text, quick, compared=()) for text in (name, "n"))
    path = write_report(tmp_path / "report", given)
    outline, plain = Outline(path.read_text(encoding="utf-8")), Outline(page(harmless))
    if name:  # the heading of a column without a name is an empty cell
        assert [tag for tag, _ in outline.tags] == [tag for tag, _ in plain.tags]
        assert [set(attributes) for _, attributes in outline.tags] == [set(attributes) for _, attributes in plain.tags]
    assert " ".join(printable(name).split()) in outline.text
    everything = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()]
    assert all(re.fullmatch(r"report/((rank_sheets|figures)/)?[a-z0-9_-]+\.[a-z]+", file) for file in everything), (
        everything
    )
    with (tmp_path / "report" / "per_query.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 7


def test_hostile_names_are_drawn(tmp_path):
    name = "".join(HOSTILE)
    given = Report(name, [section(name, name, name=name, sheet=[], worst=[]), quick(name, "")], {}, compared=[name])
    outline = Outline(write_report(tmp_path, given).read_text(encoding="utf-8"))
    assert len(outline.named("img")) == 2 + 2 * 3 + 3 * 5, "dots, curves, both sections' plots, the other one's sheets"
    assert "script" not in {tag for tag, _ in outline.tags}


def test_csv_holds_every_query_and_every_rank(tmp_path):
    other = quick("teacher", per_query={"query": ["d"], "camera": [4]}, cmc={"a, b": np.array([0.5, 1.0])})
    write_report(tmp_path, report(quick(cmc=section().cmc), other))
    with (tmp_path / "per_query.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["query"] for line in lines] == ["cosine", "b", "c", "d"]
    assert lines[1] == {"model": "student", "data": "street", "query": "b", "average_precision": "0.25", "camera": ""}
    assert lines[3] == {"model": "teacher", "data": "street", "query": "d", "average_precision": "", "camera": "4"}
    with (tmp_path / "cmc.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["ranking"], line["rank"], float(line["match_rate"])) for line in lines] == [
        ("cosine", "1", 0.625), ("cosine", "2", 0.75), ("cosine", "3", 1.0), ("a, b", "1", 0.5), ("a, b", "2", 1.0),
    ]  # fmt: skip


def test_unequal_columns_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_report(tmp_path, report(quick(per_query={"query": ["a"], "camera": []})))


def test_metrics_hold_no_nan(tmp_path):
    metrics = {"map": float("nan"), "cmc": np.array([0.5, np.nan]), "n": np.int64(3), "deep": [{"x": np.float32(0.5)}]}
    write_report(tmp_path, Report("Evaluation", [bare()], metrics))
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored == {"map": None, "cmc": [0.5, None], "n": 3, "deep": [{"x": 0.5}]}


@pytest.mark.parametrize(
    "lone",
    [
        bare(),
        quick(worst=[]),
        quick(sheet=[], worst=[]),
        quick(queries=1, sheet=rows(count=1)),
        quick(scores=[Score("Rank-1", float("nan"), float("nan"), float("nan"))]),
        quick(plots=[]),
    ],
    ids=["bare", "no worst", "no sheets", "one query", "no score", "no plots"],
)
def test_what_is_missing_is_left_out(tmp_path, lone):
    path = write_report(tmp_path, report(lone))
    outline = Outline(path.read_text())
    assert "nan" not in outline.text.lower().split()
    for attributes in outline.named("a"):
        assert (tmp_path / attributes["href"]).is_file()
    assert ("Worst queries" in outline.text) == bool(lone.worst)
    assert (tmp_path / "rank_sheets").exists() == bool(lone.sheet or lone.worst)


def test_one_query_is_singular():
    assert "1 valid query against" in Outline(page(report(quick(queries=1)))).text


def test_several_sections_are_compared_first(tmp_path):
    sections = [quick(model, data) for model in ("student", "teacher") for data in ("street", "mall")]
    outline = Outline(write_report(tmp_path, report(*sections)).read_text())
    assert [a["id"] for a in outline.named("section")] == [f"section-{k}" for k in (1, 2, 3, 4)]
    assert {a["href"] for a in outline.named("a")} >= {f"#section-{k}" for k in (1, 2, 3, 4)}
    assert outline.text.index("Comparison") < outline.text.index("valid queries")
    assert "Comparison" not in Outline(page(report(quick()))).text
    assert len(list((tmp_path / "rank_sheets").iterdir())) == 8


def test_the_matrix_has_gaps_where_nothing_was_measured():
    given = report(bare("student", "street"), section("teacher", "mall", scores=[Score("Rank-1", 0.5)]))
    assert np.array_equal(given.matrix("Rank-1"), [[np.nan, np.nan], [np.nan, 0.5]], equal_nan=True)
    assert "50.0" in Outline(page(given)).text


def test_sections_must_differ():
    with pytest.raises(ValueError, match="differ"):
        report(section(), section())
    with pytest.raises(ValueError, match="differ"):
        Report("Evaluation", [], {})


def test_many_queries_make_several_sheets(tmp_path):
    write_report(tmp_path, report(quick(sheet=[SheetRow(image(0), "q", "1")] * 45, worst=[])))
    names = sorted(file.name for file in (tmp_path / "rank_sheets").iterdir())
    assert names == [f"1-street-student-queries-{k}.jpg" for k in (1, 2, 3)]


def test_same_report_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write_report(tmp_path / folder, report(section(), quick("teacher")))
    files = [file for file in (tmp_path / "a").rglob("*") if file.is_file()]
    assert len(files) == 29
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), file.name


def test_a_page_of_twenty_queries_stays_small():
    noise = np.random.default_rng(1).integers(0, 256, (512, 256, 3)).astype(np.uint8)
    line = SheetRow(noise, "q", "1", "1", [SheetCell(noise, "hit", 0.1)] * 10)
    assert len(page(report(quick(sheet=[line] * 20)))) < 220 * 12_000


def test_writing_again_replaces_the_old_report(tmp_path):
    write_report(tmp_path, report(quick()))
    write_report(tmp_path, Report("Second", [quick()], {"rank_1": 1.0}))
    assert "<h1>Second</h1>" in (tmp_path / "index.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"rank_1": 1.0}


def compared(points, value=0.6, people=30):
    """Return sections of two models, the second of which has a gain over the first."""
    first = quick("before", scores=[Score(MEASURE, 0.5, 0.4, 0.6)], people=people)
    gain = Gain("before", people, {MEASURE: points})
    changed = [ChangedQuery(rows("q.jpg", 1)[0], rows("q.jpg", 1)[0], 0.25)]
    return [first, quick("after", scores=[Score(MEASURE, value)], people=people, gain=gain, changed=changed)]


@pytest.mark.parametrize(
    ("points", "value", "expected"),
    [
        ((0.1, 0.02, 0.18), 0.6, "after is better than before: mAP 60.0 % against 50.0 %, +10.0 points (95 % over 30"),
        ((0.1, -0.02, 0.18), 0.6, "no clear winner: after scores +10.0 points over before"),
        ((-0.1, -0.2, -0.05), 0.4, "before is better than after: mAP 50.0 % against 40.0 %, +10.0 points"),
        ((-0.1, -0.2, 0.05), 0.4, "(95 % over 30 people: -5.0 to +20.0)"),
        ((0.1, float("nan"), float("nan")), 0.6, "after scores more than before"),
    ],
)
def test_the_first_sentence_says_which_model_is_better_and_how_surely(points, value, expected):
    (sentence,) = write_verdict(report(*compared(points, value)))
    assert expected in sentence
    shown = Outline(page(report(*compared(points, value)))).text
    assert shown.index(sentence.split(":")[0]) < shown.index("Comparison")


def test_one_model_and_none_that_could_be_scored_have_a_sentence_too():
    assert "student shows the right person first for 62.5 %" in write_verdict(report(quick()))[0]
    assert "Nothing could be scored" in write_verdict(report(bare()))[0]
    assert "no two models to compare" in write_verdict(report(bare("a"), bare("b")))[0]


def test_queries_that_changed_stand_side_by_side():
    outline = Outline(page(report(*compared((0.1, 0.0, 0.2)))))
    assert "Queries that changed most, from before to after" in outline.text
    assert "q.jpg · person q.jpg · +25.0 points before · AP 0.0 %" in outline.text
    assert outline.text.count("Queries that changed most") == 1


def test_the_card_of_thresholds_names_the_threshold_or_what_it_would_take():
    some = Interval(0.6, 0.7)
    points = [
        OperatingPoint(0.01, 90, "", 0.65, 0.0099, 0.8, some, Interval(0.008, 0.012), Interval(0.75, 0.85)),
        OperatingPoint(0.001, 90, "too few people: 0.1 % false matches takes about 246 people, here are 90"),
    ]
    decision = Decision(points, 120, 4000, 90, "thresholds are stored in m/decide.json")
    given = report(quick(decision=decision))
    words = Outline(page(given)).text
    assert "1 % 0.6500 80.0 % [75.0 – 85.0] 0.80 – 1.20 %" in words
    assert "not given too few people: 0.1 % false matches takes about 246 people, here are 90" in words
    assert "rewho compare FIRST.jpg SECOND.jpg --model MODEL --threshold 1%" in words
    assert "| 1 % | 0.6500 | 80.0 % [75.0 – 85.0] |" in markdown(report_tables(given))
    refused = Decision([replace(points[1])], 120, 4000, 90, "no threshold to store")
    assert "--threshold" not in Outline(page(report(quick(decision=refused)))).text


def test_plots_are_written_for_pages_and_papers(tmp_path):
    write_report(tmp_path, report(*compared((0.1, 0.0, 0.2))))
    names = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert "map-rectangular.pdf" in names and "map-rectangular.svg" in names
    assert "2-street-after-plot-cosine-3.svg" in names, "plots of one title are numbered"
    assert (tmp_path / "figures" / "map-rectangular.pdf").read_bytes().startswith(b"%PDF")
