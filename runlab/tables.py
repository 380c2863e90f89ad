"""Tables as the clients of database servers print them, by the name of the program.

psql prints CSV as it is called here. mariadb in batch mode prints tab-separated values in which a tab, a line feed, a
backslash and a zero byte are escaped, and a null is the word NULL (mariadb(1), --batch).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

_ESCAPE = re.compile(r"\\([tn0\\])")
_MEANS = {"t": "\t", "n": "\n", "0": "\0", "\\": "\\"}


def read(program: str, text: str) -> tuple[Sequence[str], list[Mapping[str, str]]]:
    """The header's names, and each row by name; a null is "". Both are empty where nothing was printed."""
    if program == "mariadb":
        lines = text.removesuffix("\n").split("\n") if text else []
        header, *rows = [line.split("\t") for line in lines] or [[]]
        names = [_unescaped(name) for name in header]
        return names, [dict(zip(names, map(_value, row), strict=False)) for row in rows]
    table = csv.DictReader(io.StringIO(text), restval="")
    return table.fieldnames or (), [{name: value for name, value in row.items() if name is not None} for row in table]


def _value(printed: str) -> str:
    return "" if printed == "NULL" else _unescaped(printed)


def _unescaped(printed: str) -> str:
    return _ESCAPE.sub(lambda found: _MEANS[found[1]], printed)
