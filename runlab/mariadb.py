"""SQL for MariaDB, read with sqlglot's MySQL grammar and run by the mariadb client; a runlab.sqltext.Client.

The grammar is not the server's own, so what the two might read differently is refused: comments (MariaDB runs some of
them), backslashes (client commands; and what they mean in a string depends on sql_mode), and white space that only one
of them knows. What sqlglot does not know, it parses as an opaque Command, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import SqlglotError

from runlab.model import Json
from runlab.sqltext import WHOLE_NUMBER, Login, RefusedError, ensure_text, not_allowed, spliced

_KINDS: Mapping[type[exp.Expr], str] = {exp.Query: "select", exp.Describe: "explain", exp.Show: "show"}
_WRITES = (exp.DML, exp.DDL, exp.Lock)
_REFUSED_WORDS = ("INTO", "LOAD_FILE")  # what writes to a variable, a table or a file, and what reads a file
_STRINGS = {TokenType.STRING, TokenType.NATIONAL_STRING}
_WHITE_SPACE = " \t\r\n"

# its warnings of what it parses as a Command say what the refusal says
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True)
class _Parsed:
    tokens: Sequence[Token]
    statements: list[exp.Expr]
    bare: list[tuple[int, str]]
    """offset and text of each bare word that stands for a value"""


def check(query: str, allowed: Collection[str]) -> None:
    """See Client. A statement changes no data, locks no row, ends one session by its number, drops columns at most."""
    parsed = _parse(query)
    for statement in parsed.statements:
        if _kind(statement) not in allowed:
            name = statement.name if isinstance(statement, exp.Command) else statement.key
            raise not_allowed(name.upper(), allowed)
        if writes := statement.find(*_WRITES):
            raise RefusedError(f"it contains {writes.key.upper()}")
    _ensure_plain(query, parsed.tokens)


def fill(query: str, values: Mapping[str, Json]) -> str:
    """See Client. `KILL pid` with {"pid": 11} gives `KILL 11`."""
    places = [(at, word.lower()) for at, word in _parse(query).bare if word.lower() in values]
    return spliced(query, places, values, _literal)


def quoted(name: str) -> str:
    return f"`{name}`"


def command(query: str, login: Login) -> tuple[Sequence[str], Mapping[str, str]]:
    """See Client. A query whose client was killed at the time limit is ended by the server a second later."""
    return (
        "mariadb",
        "--no-defaults",
        "--batch",
        "--binary-mode",  # a line that begins like a command of the client's own (system, source, tee) is SQL as well
        "--protocol=tcp",
        f"--host={login.host}",
        f"--user={login.role}",
        f"--database={login.database}",
        "--default-character-set=utf8mb4",
        "--connect-timeout=5",
        f"--init-command=SET SESSION max_statement_time={login.time_limit_s + 1:g}",
        f"--execute={query}",
    ), {"MYSQL_PWD": login.password}


def _kind(statement: exp.Expr) -> str | None:
    if isinstance(statement, exp.Kill):
        if not statement.this.is_int:
            raise RefusedError("KILL of what is no session's number")
        return "kill"
    if isinstance(statement, exp.Alter):
        return "alter table drop column" if _drops_columns(statement) else None
    return next((kind for form, kind in _KINDS.items() if isinstance(statement, form)), None)


def _drops_columns(statement: exp.Alter) -> bool:
    """Whether it drops columns of a table, without what depends on them, and does nothing else."""
    return _says_only(statement, "TABLE", "this", "exists", "actions") and all(
        isinstance(action, exp.Drop) and _says_only(action, "COLUMN", "tables", "exists")
        for action in statement.args["actions"]
    )


def _says_only(expression: exp.Expr, kind: str, *names: str) -> bool:
    said = {name: value for name, value in expression.args.items() if value and name not in names}
    return said == {"kind": kind}


def _literal(text: str) -> str:
    """A number as it stands if it is unsigned (`- -5` would begin a comment), all else as a string constant."""
    return text if WHOLE_NUMBER.fullmatch(text) else "'" + text.replace("'", "''") + "'"


def _parse(query: str) -> _Parsed:
    ensure_text(query)
    if "\\" in query:
        raise RefusedError("it holds a backslash")
    dialect = MySQL()
    try:
        tokens = dialect.tokenize(query)
        ended = list(_to_be_ended(tokens))
        readable = query
        for at, word in ended:  # the grammar wants a number there
            readable = readable[:at] + "0".ljust(len(word)) + readable[at + len(word) :]
        statements = [statement for statement in dialect.parse(readable) if statement is not None]
    except (SqlglotError, RecursionError) as error:
        raise RefusedError(f"not SQL that could be parsed as MariaDB's: {str(error).partition(chr(10))[0]}") from None
    if not statements:
        raise RefusedError("no statement in it")
    return _Parsed(tokens, statements, ended + [place for statement in statements for place in _columns(statement)])


def _ensure_plain(query: str, tokens: Sequence[Token]) -> None:
    """Raise RefusedError unless `query` is its tokens and white space, and none of them a word that is refused."""
    end = 0
    for token in tokens:
        if query[end : token.start].strip(_WHITE_SPACE) or token.token_type == TokenType.HINT:
            break
        if token.token_type not in _STRINGS and token.text.upper() in _REFUSED_WORDS:
            raise RefusedError(f"it contains {token.text.upper()}")
        end = token.end + 1
    if query[end:].strip(_WHITE_SPACE):
        raise RefusedError("it holds a comment, or white space that MariaDB does not know")


def _to_be_ended(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """The bare word of each `KILL word`, `KILL CONNECTION word`, `KILL QUERY word`."""
    statement: list[Token] = []
    for token in [*tokens, None]:
        if token is not None and token.token_type != TokenType.SEMICOLON:
            statement.append(token)
            continue
        match [(it.token_type, it.text.upper()) for it in statement]:
            case [(TokenType.KILL, _), (TokenType.VAR, _)] | [
                (TokenType.KILL, _),
                (TokenType.VAR, "CONNECTION" | "QUERY"),
                (TokenType.VAR, _),
            ]:
                yield statement[-1].start, statement[-1].text
        statement = []


def _columns(statement: exp.Expr) -> Iterator[tuple[int, str]]:
    """Bare column references."""
    for column in statement.find_all(exp.Column):
        name = column.this
        if isinstance(name, exp.Identifier) and not name.quoted and len(column.parts) == 1:
            yield name.meta["start"], name.name
