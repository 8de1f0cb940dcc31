"""Tables for notes and papers: nothing in a name is read as markup."""

from rewho.report.content import Table
from rewho.report.table_text import latex, markdown


def test_tables_for_papers_escape_what_their_language_reads():
    name = "a_b & 50 % | $x$ \\ {y} # ~^"
    tables = [Table("T", ["Model", "mAP"], [[name, "1 – 2"]])]
    assert "a\\_b \\& 50 \\% | \\$x\\$" in latex(tables)
    assert "\\textbackslash{} \\{y\\} \\# \\textasciitilde{}\\textasciicircum{} & 1 -- 2" in latex(tables)
    assert "| a_b & 50 % \\| $x$" in markdown(tables)
    rows_of_each = [len(line.split(" & ")) for line in latex(tables).splitlines() if line.endswith("\\\\")]
    assert len(rows_of_each) == 2
