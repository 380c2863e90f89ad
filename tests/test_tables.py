"""What psql and mariadb print, as they print it."""

from __future__ import annotations

import pytest

from runlab.tables import read


def test_psql_prints_csv() -> None:
    names, rows = read("psql", 'pid,query\n11,"a,\nb"\n,\n')
    assert (names, rows) == (["pid", "query"], [{"pid": "11", "query": "a,\nb"}, {"pid": "", "query": ""}])


def test_mariadb_prints_tabs_and_escapes() -> None:
    names, rows = read("mariadb", "Id\ta\\tb\n11\tx\\ty\\nz\\\\n\\0\n12\tNULL\n13\t\n14\tein \r, zwei\n")
    assert names == ["Id", "a\tb"]
    assert [row["a\tb"] for row in rows] == ["x\ty\nz\\n\0", "", "", "ein \r, zwei"]
    assert [row["Id"] for row in rows] == ["11", "12", "13", "14"]


@pytest.mark.parametrize("program", ["psql", "mariadb"])
def test_what_is_cut_short_or_empty_is_no_error(program: str) -> None:
    assert read(program, "") in (([], []), ((), []))
    separator = "," if program == "psql" else "\t"
    names, rows = read(program, f"a{separator}b\n1{separator}2\n3")
    assert names == ["a", "b"]
    assert [row.get("b") or "" for row in rows] == ["2", ""]
    assert read(program, f"a\n1{separator}2\n")[1] == [{"a": "1"}]
