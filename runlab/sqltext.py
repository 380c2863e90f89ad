"""What all SQL of a runbook has in common; psql.py and mariadb.py know their server's own grammar and client.

SQL and the values filled into it come from whoever wrote the text or runs the server, and are not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runlab.model import Json

NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no text has, and that other programs may take for its end."""
WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
BLANK = "..."
"""Where a printed command leaves a name to its reader: ALTER TABLE ... DROP COLUMN ..."""

_LONGEST = 20_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class RefusedError(Exception):
    """This command is not one that the operator may run; the message says why."""


@dataclass(frozen=True)
class Login:
    """To which server, as whom, and after how many seconds at the latest the server is to end a query of ours."""

    host: str
    database: str
    role: str
    password: str
    time_limit_s: float


class Client(Protocol):
    """A server's client program, and the grammar of its SQL."""

    def check(self, query: str, allowed: Collection[str]) -> None:
        """Raise RefusedError unless every statement of `query` is of an allowed kind, and changes nothing else.

        What the functions that it calls may do is decided by the role's rights on the server, not here.
        """
        ...

    def fill(self, query: str, values: Mapping[str, Json]) -> str:
        """Replace each bare word of `query` that names one of `values` by that value, which stays one literal.

        Words inside strings, quoted names, and qualified ones such as `a.pid`, stay. Raises RefusedError when a
        value's name does not occur.
        """
        ...

    def quoted(self, name: str) -> str:
        """A plain name as this server quotes it."""
        ...

    def command(self, query: str, login: Login) -> tuple[Sequence[str], Mapping[str, str]]:
        """Arguments and environment that run `query`; the password is in the environment alone."""
        ...


def ensure_text(query: str) -> None:
    """Raise RefusedError for what is too long, or no text."""
    if len(query) > _LONGEST:
        raise RefusedError(f"it is longer than {_LONGEST} characters")
    if NO_TEXT.search(query):
        raise RefusedError("it holds characters that are no text")


def not_allowed(name: str, allowed: Collection[str]) -> RefusedError:
    return RefusedError(f"{name} is not among the statements that lab.toml allows ({', '.join(allowed)})")


def named(query: str, names: Sequence[str], quoted: Callable[[str], str]) -> str:
    """Put a quoted name in each `...` of `query`, in order.

    Raises RefusedError when there are more or fewer of them, and for what is not letters, digits and underscores.
    """
    if not names:
        return query
    first, *others = query.split(BLANK)
    if len(others) != len(names):
        raise RefusedError(f"it leaves {len(others)} names open as {BLANK}, and {len(names)} are given")
    for name in names:
        if not _NAME.fullmatch(name):
            raise RefusedError(f"{name!r} for a {BLANK} is no plain name")
    return first + "".join(quoted(name) + after for name, after in zip(names, others, strict=True))


def spliced(
    query: str, places: Iterable[tuple[int, str]], values: Mapping[str, Json], literal: Callable[[str], str]
) -> str:
    """Replace the word at each place (offset, name) by its value as `literal` writes it.

    Raises RefusedError when one of `values` has no place, or is no text.
    """
    found = sorted(places, reverse=True)
    if missing := sorted(set(values) - {name for _, name in found}):
        raise RefusedError(f"it has no place for {', '.join(missing)}")
    for at, name in found:
        value = str(values[name])
        if NO_TEXT.search(value):
            raise RefusedError("a value for it holds characters that are no text")
        query = query[:at] + literal(value) + query[at + len(name) :]
    return query
