"""Names and values that are put into SQL come from whoever wrote the text or runs the server."""

from __future__ import annotations

import pytest

from runlab.sqltext import RefusedError, named, spliced

DROP = "ALTER TABLE ... DROP COLUMN ..."


def quoted(name: str) -> str:
    return f"[{name}]"


def test_names_are_put_in_order_and_quoted() -> None:
    assert named(DROP, ["projects", "owner"], quoted) == "ALTER TABLE [projects] DROP COLUMN [owner]"


def test_without_names_nothing_changes() -> None:
    assert named(DROP, [], quoted) == DROP


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_each_blank_has_its_name(names: list[str]) -> None:
    with pytest.raises(RefusedError, match=rf"it leaves 2 names open as \.\.\., and {len(names)} are given"):
        named(DROP, names, quoted)


@pytest.mark.parametrize(
    "name", ["", "a b", "a;b", "a`b", 'a"b', "a.b", "1a", "a-b", "a\n", "ä", "a" * 64, "...", "a\0", "--", "$$"]
)
def test_only_a_plain_name_is_put_in(name: str) -> None:
    with pytest.raises(RefusedError, match=r"for a \.\.\. is no plain name"):
        named(DROP, ["projects", name], quoted)


def test_values_are_put_where_their_words_stand() -> None:
    query = spliced("x = pid OR y = pid", [(4, "pid"), (15, "pid")], {"pid": 11}, lambda text: f"<{text}>")
    assert query == "x = <11> OR y = <11>"
    with pytest.raises(RefusedError, match="it has no place for name, pid"):
        spliced("x", [], {"pid": 1, "name": "a"}, str)
    with pytest.raises(RefusedError, match="no text"):
        spliced("pid", [(0, "pid")], {"pid": "1\0"}, str)
