"""What the tables' plans say that the papers measured is what the papers say."""

import re
from pathlib import Path

from rewho.tables.plan import read_plan

RECIPES = Path(__file__).parents[2] / "recipes"
TABLES = sorted(path for path in RECIPES.glob("luperson/tables/*.yaml") if not path.stem.startswith("steps"))


def test_the_tables_of_luperson_hold_the_papers_figures(shared):
    """Every figure of a table stands in the paper's text, as a number."""
    swept = 0
    text = (shared / "seeds" / "luperson.txt").read_text()
    known = {float(number) for number in re.findall(r"\d+\.\d+|\b\d\d\b", text)}
    for path in TABLES:
        for row in read_plan(path).rows:
            figures = [figure for pair in row.paper.values() for figure in pair if figure is not None]
            assert all(0 < figure <= 100 for figure in figures)
            assert set(figures) <= known, (path.stem, row.label)
            swept += len(figures)
    assert swept == 34 + 72 + 180 + 32 + 24 + 150


def printed_rows(lines, first, last):
    """Return the figures that a printed table has in some columns, by the row's name without spaces and citations."""
    rows = {}
    for cells in (line.split("\t") for line in lines):
        name = re.sub(r"\[\d+\]|\\(begin|end)\{array\}|\{c\}|[\s${}\\]", "", cells[first]).lower()
        # The scan lost some points: "68 2".
        words = [word.strip().replace(" ", ".") for word in cells[last - 6 : last]]
        figures = [float(word) if re.fullmatch(r"[\d.]+", word) else None for word in words]
        rows.setdefault(name, figures + [None] * (6 - len(figures)))
    return rows


def test_the_tables_of_factorized_distillation_hold_the_papers_figures_in_their_places(shared):
    text = (shared / "seeds" / "factorized-distillation.txt").read_text()
    blocks = [block.splitlines() for block in re.findall(r"(?:.*\t.*\n)+", text) if "Rank-1" in block]
    places = {
        "fd3": (0, 0, 8),
        "fd4": (0, 8, 16),
        "fd5": (1, 0, 8),
        "fd6": (2, 0, 7),
        "fd7": (3, 0, 7),
        "fd8": (4, 0, 7),
    }
    swept = 0
    for table_name, (block, first, last) in places.items():
        printed = printed_rows(blocks[block], first, last)
        for row in read_plan(RECIPES / "fd" / "tables" / f"{table_name}.yaml").rows:
            name = re.sub(r"\s|^teacher", "", row.label).lower()
            # Two long names are broken into two lines, and the figures stand in the first.
            broken = {"nin-bn+darkrank": "nin-bn+", "mobilenet+dml": "mobilenet"}
            expected = printed[broken.get(name, name)]
            data_sets = ("market1501", "dukemtmc-reid", "cuhk03-np-detected")
            found = [figure for key in data_sets for figure in row.figures(key)]
            assert found == expected, (table_name, row.label)
            assert set(row.paper) <= {*data_sets}
            swept += sum(figure is not None for figure in found)
    assert swept > 300
