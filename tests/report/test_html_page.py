"""Pages: one policy in all, text that is never markup, tables with numbers at the right."""

import re
from pathlib import Path

from rewho.report import html_page as html

SOURCE = Path(__file__).parents[2] / "src" / "rewho"


def test_every_page_has_the_policy_before_its_style():
    page = html.build_page("</title><script>", html.card("<b>", html.paragraph("<i>")))
    assert not re.search("<script>|<b>|<i>", page)
    assert page.index("default-src 'none'") < page.index("<style>")


def test_pages_are_built_here_only():
    pages = [path.name for path in SOURCE.rglob("*.py") if "<!doctype" in path.read_text(encoding="utf-8").lower()]
    assert pages == ["html_page.py"]


def test_columns_of_numbers_are_aligned_to_the_right():
    table = html.table([["a", 1234, "50.0 [1 – 2]", "x"], ["b", True, "–", "2"]], ["name", "n", "score", "mixed"])
    assert re.findall(r'<td class="number">([^<]*)', table) == ["1,234", "50.0 [1 – 2]", "True", "–"]
    assert re.findall(r"<td>([^<]*)", table) == ["x", "2"]


def test_a_table_needs_neither_header_nor_rows():
    assert "<thead>" not in html.table([["a", "b"]])
    assert 'scope="col"' in html.table([], ["name", "n"])
    groups = html.table([["a", 1, 2]], ["", "x", "y"], [("", 1), ("<g>", 2)])
    assert '<thead><tr><td colspan="1"></td>' in groups, "an empty heading is none"
    assert 'colspan="2">&lt;g&gt;</th>' in groups
