"""Our figures beside a paper's: as Markdown, as a page, as JSON."""

import json

from rewho.report.content import Score
from rewho.tables.comparison import OURS, PaperCell, PaperRow, PaperTable, markdown, page


def table(label="S"):
    values = zip(OURS, (0.5, 0.4, 0.3), strict=True)
    scores = {name: Score(name, value, value - 0.25, value + 0.25) for name, value in values}
    rows = [
        PaperRow(label, 1_040_000, 1.0, {"market1501": PaperCell(scores, (0.8245, 0.624), {"queries": 9})}),
        PaperRow("quoted", None, 8.0, {"market1501": PaperCell(paper=(0.859, None))}),
    ]
    return PaperTable("Table 3", {"market1501": "Market-1501", "cuhk03": "CUHK03"}, rows, ["A note."], {"seed": "1"})


def test_every_figure_stands_where_it_belongs():
    lines = markdown(table()).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    header, _, ours, quoted = cells
    assert len(header) == len(ours) == len(quoted) == 3 + 2 * 5
    assert ours[:5] == ["S", "1.0", "1.0", "50.0 [25.0 – 75.0]", "82.45"]
    assert ours[5:8] == ["40.0 [15.0 – 65.0]", "30.0 [5.0 – 55.0]", "62.40"]
    assert ours[8:] == ["–"] * 5, "a data set without figures"
    assert quoted[:8] == ["quoted", "–", "8.0", "–", "85.90", "–", "–", "–"]
    assert "A note." in lines


def test_the_page_says_the_same_and_escapes_names():
    shown = page(table("<S>"))
    assert shown == page(table("<S>"))
    assert "&lt;S&gt;" in shown and "<S>" not in shown and "://" not in shown
    assert all(word in shown for word in ("82.45", "50.0 [25.0 – 75.0]", "A note.", "CUHK03"))
    assert "a \\| b" in markdown(table("a | b"))


def test_json_has_shares_intervals_and_both_conventions():
    content = json.loads(json.dumps(table().as_dict(), allow_nan=False))
    cell = content["rows"][0]["cells"]["market1501"]
    assert cell["ours"]["Rank-1"] == {"value": 0.5, "interval_95": [0.25, 0.75]}
    assert list(cell["ours"]) == list(OURS)
    assert cell["paper"] == {"Rank-1": 0.8245, "mAP": 0.624} and cell["queries"] == 9
    assert content["rows"][1]["cells"]["market1501"]["ours"] == {}
