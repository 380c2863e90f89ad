"""The operator's console: the only way in which a step definition can touch or learn anything.

A runbook is untrusted text. Its commands become argument lists, never a shell's line; only families that lab.toml
lists are run, each as its unprivileged account and with a time limit; everything is in the journal with its whole
output. What a definition returns as facts can only be cut out of such an output.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from runlab import curl, mariadb, psql, sqltext, tables
from runlab.journal import Journal
from runlab.model import Claim, CommandResult, Json, JsonObject, Stack
from runlab.settings import ConsoleSettings, Family
from runlab.sqltext import NO_TEXT, Client, Login, RefusedError
from runlab.stack.plan import CONTROL, OPERATOR
from runlab.stack.runtimes import SANDBOX

CURL = "curl"
ROOT = "root"
NOT_FOUND = 127
"""The status of a command whose program is not installed."""
CLIENTS: Mapping[str, Client] = {"psql": psql, "mariadb": mariadb}
"""The programs that SQL is run by."""
_SHELL = re.compile(r"[;&|<>`$\r\n]")
_PLACEHOLDER = re.compile(r"<([a-z_]+)>")
_WORDS = re.compile(r"<([a-z_]+)\.\.\.>")
"""A placeholder that stands for several words, for families alone whose `only` bounds the whole command line."""
_LONGEST = 20_000
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """Values cut out of one or more commands' outputs. Only `Output` makes them; each knows its command."""

    values: tuple[tuple[str, str], ...]
    """(value, evidence of the command) pairs, in the order of the output"""
    how: str

    def __iter__(self) -> Iterator[str]:
        return (value for value, _ in self.values)

    def as_data(self) -> list[JsonObject]:
        return [{"value": value, "evidence": command, "column": self.how} for value, command in self.values]


class Facts:
    """What a step found: `Facts(pid=output.column("pid"))`. Raises TypeError for anything not cut out of an output."""

    def __init__(self, **found: Found) -> None:
        for name, value in found.items():
            if not isinstance(value, Found):
                raise TypeError(f"fact {name} was not read from a command's output but is a {type(value).__name__}")
        self.found: Mapping[str, Found] = dict(found)


@dataclass(frozen=True)
class Output:
    """What a command printed, each time that it was run, and the journal line that holds it.

    Facts are cut out of all of it, each value with the line of its own run.
    """

    runs: tuple[tuple[CommandResult, str], ...]
    """(result, evidence) pairs, one for each value that the command was run for"""

    @property
    def result(self) -> CommandResult:
        """How the last run ended."""
        return self.runs[-1][0]

    @property
    def evidence(self) -> str:
        """The journal line of the last run."""
        return self.runs[-1][1]

    @property
    def ok(self) -> bool:
        """Whether every run succeeded."""
        return all(result.status == 0 for result, _ in self.runs)

    def column(self, name: str) -> Found:
        """The column `name` of a table with a header; nulls and empty values are left out.

        Raises LookupError when a run printed no such column.
        """
        return self._found(lambda result: _column(result, name), f"column {name}")

    def lines(self) -> Found:
        """Each line that is not blank, stripped."""
        return self._found(lambda r: [line.strip() for line in r.stdout.splitlines() if line.strip()], "line")

    def group(self, pattern: str) -> Found:
        """What the first group of `pattern` matched, for every match."""
        return self._found(lambda r: [match[1] for match in re.finditer(pattern, r.stdout)], f"group of {pattern}")

    def _found(self, cut: Callable[[CommandResult], Sequence[str]], how: str) -> Found:
        return Found(tuple((value, evidence) for result, evidence in self.runs for value in cut(result)), how)


def _column(result: CommandResult, name: str) -> list[str]:
    names, rows = tables.read(result.argv[0], result.stdout)
    if name not in names:
        raise LookupError(f"the output has no column {name}, only {', '.join(names) or 'nothing'}")
    return [row[name] for row in rows if row.get(name)]


class Operator:
    """The person on call, for one step: runs commands, and nothing else. Made anew for each sentence."""

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        settings: ConsoleSettings,
        claim: Claim,
        alert: Mapping[str, str] | None = None,
    ) -> None:
        self._stack, self._journal, self._settings, self._claim = stack, journal, settings, claim
        self.alert: Mapping[str, str] = dict(alert or {})
        """The labels of the first alert of the runbook that was delivered in this arm; empty when none was."""
        self.refused: str | None = None
        """Why the last command that was not allowed was not run; None when all were."""

    def sql(
        self,
        query: str,
        *,
        family: str = "psql",
        each: Mapping[str, Found] | None = None,
        blanks: Sequence[Found] = (),
    ) -> Output:
        """Run SQL by a family of lab.toml, as its role, and return the table that its program printed.

        With `each` the query is run once for every value, its bare word of that name replaced by the value. Each `...`
        of the query is replaced, in order, by the first value of that one of `blanks`, as a quoted name. Without a
        value nothing runs, and LookupError is raised. RefusedError: not allowed.
        """
        allowed = self._family(family, query)
        client = CLIENTS.get(allowed.tool or family)
        if client is None:
            self._refuse(query, f"{family} runs no SQL")
        texts = self._guarded(query, lambda: _texts(query, client, allowed.statements, each, blanks))
        self._ensure_there([allowed.service], query)
        login = Login(
            host=self._stack.inside(allowed.service),
            database=allowed.database,
            role=allowed.role,
            password=self._stack.secret(allowed.password),
            time_limit_s=self._settings.time_limit_s,
        )
        commands = [client.command(text, login) for text in texts]
        return self._run(allowed, query, commands, as_whom=f"role {allowed.role}")

    def run(self, command: str, *, each: Mapping[str, Found] | None = None, on: str = "") -> Output:
        """Run a command line that holds no shell syntax; `<name>` is filled from `each`, one run for each value.

        `on` is the host of the sandbox on which it runs, as if by ssh; without a sandbox there is but one. A value is
        of a server's output and not trusted: it stays one word, and can't become an option.
        RefusedError: not allowed. SQL is for `sql`.
        """
        words = self._guarded(command, lambda: _words(command))
        family = self._family(words[0], command)
        if family.tool or words[0] in CLIENTS:
            self._refuse(command, f"{words[0]} is run for SQL alone, without options of its own")
        if (family.sandbox or family.account == ROOT) and self._stack.runtime != SANDBOX:
            self._refuse(command, f"{words[0]} needs the sandbox, this runtime is {self._stack.runtime}")
        runs = self._guarded(
            command, lambda: [_filled(words, values, family) for values in ([{}] if each is None else _each(each))]
        )
        complete = [self._reaching(family, argv, command) for argv in runs]
        return self._run(family, command, [(argv, {}) for argv in complete], as_whom="", on=on)

    def _reaching(self, family: Family, argv: Sequence[str], command: str) -> Sequence[str]:
        """The command with curl's own options that lead a service's name to its address; others are as they were."""
        if argv[0] != CURL:
            return argv
        leading = ["-q"]  # first of all: without the options that a file in its home may hold
        endpoints = self._guarded(command, lambda: curl.endpoints(argv[1:], family.services))
        self._ensure_there([name for name, _ in endpoints], command)
        for name, port in endpoints:
            leading += ["--connect-to", f"{name}:{port}:{self._stack.inside(name)}:{port}"]
        return [CURL, *leading, *argv[1:]]

    def _family(self, name: str, command: str) -> Family:
        family = self._settings.families.get(name)
        if family is None:
            self._refuse(command, f"{name} is not among the families that lab.toml allows")
        return family

    def _ensure_there(self, services: Collection[str], command: str) -> None:
        """Refuse a command for a service that was not started: that it fails would say nothing of the sentence."""
        for name in services:
            if name not in self._stack.log_files():
                self._refuse(command, f"{name} is not among the services that this run started")

    def _run(
        self,
        family: Family,
        printed: str,
        commands: Sequence[tuple[Sequence[str], Mapping[str, str]]],
        *,
        as_whom: str,
        on: str = "",
    ) -> Output:
        return Output(tuple(self._run_one(family, printed, *command, as_whom=as_whom, on=on) for command in commands))

    def _run_one(
        self,
        family: Family,
        printed: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        as_whom: str,
        on: str,
    ) -> tuple[CommandResult, str]:
        result = self._stack.execute(
            argv, account=family.account, on=on, environment=environment, time_limit_s=self._settings.time_limit_s
        )
        if result.status == NOT_FOUND:
            self._refuse(printed, f"{argv[0]} is not installed; run `make setup`")
        evidence = self._write(
            printed,
            argv=list(result.argv),
            account=family.account,
            host=self._where(family, on),
            role=as_whom,
            status=result.status,
            stdout=result.stdout,
            stderr=result.stderr,
            seconds=round(result.seconds, 4),
            refused=None,
        )
        return result, evidence

    def _where(self, family: Family, on: str) -> str:
        """The host on which a command of `family` runs; where there is no sandbox all are the operator's own."""
        if self._stack.runtime != SANDBOX:
            return OPERATOR
        return on or (OPERATOR if family.account == OPERATOR else CONTROL)

    def _guarded(self, command: str, check: Callable[[], T]) -> T:
        """What `check` answers; a refusal goes to the journal first."""
        try:
            return check()
        except RefusedError as error:
            self._refuse(command, str(error))

    def _refuse(self, command: str, why: str) -> NoReturn:
        self._write(
            command,
            argv=[command],
            account=None,
            host=OPERATOR,
            role="",
            status=None,
            stdout="",
            stderr="",
            seconds=0.0,
            refused=why,
        )
        self.refused = why
        raise RefusedError(why)

    def _write(self, command: str, **data: Any) -> str:
        """Journal a command: `printed` is the runbook's own text of it, or null when the tool is ours."""
        own = command if any(part.text == command for part in self._claim.parts) else None
        return self._journal.write("command", claim=self._claim.id, printed=own, **data)


def _texts(
    query: str, client: Client, allowed: Collection[str], each: Mapping[str, Found] | None, blanks: Sequence[Found]
) -> list[str]:
    """The query as it is to be run, once for each value; all are checked before the first is run.

    Raises RefusedError for what is not allowed, also where there is no value, and else LookupError where there is none.
    """
    client.check(sqltext.named(query, ["name"] * len(blanks), client.quoted), allowed)
    if not all(found.values for found in blanks):
        raise LookupError(f"no name was found for a {sqltext.BLANK}, so there is nothing to run this for")
    text = sqltext.named(query, [next(iter(found)) for found in blanks], client.quoted)
    texts = [text] if each is None else [client.fill(text, values) for values in _each(each)]
    for complete in texts:
        client.check(complete, allowed)
    return texts


def _each(each: Mapping[str, Found]) -> list[dict[str, Json]]:
    """One mapping for every value of the one fact in `each`. Raises LookupError when there is no value."""
    ((name, found),) = each.items()
    if not found.values:
        raise LookupError(f"no {name} was found, so there is nothing to run this for")
    return [{name: value} for value in found]


def _words(command: str) -> list[str]:
    """The command's words, as a shell would split them. RefusedError where only a shell could make sense of it."""
    if len(command) > _LONGEST:
        raise RefusedError(f"it is longer than {_LONGEST} characters")
    if NO_TEXT.search(command):
        raise RefusedError("it holds characters that are no text")
    if _SHELL.search(_WORDS.sub("", _PLACEHOLDER.sub("", command))):
        raise RefusedError("it needs a shell")
    words = _split(command)
    if not words:
        raise RefusedError("it is empty")
    return words


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise RefusedError(f"it can't be split into words: {error}") from None


def _filled(words: Sequence[str], values: Mapping[str, Json], family: Family) -> list[str]:
    """The words with a value in each `<place>`, and several in a `<place...>`. RefusedError: `family` forbids it."""
    if not family.only and any(_WORDS.search(word) for word in words):
        raise RefusedError("several words in one place need a family with `only`")
    asked = {name for word in words for place in (_PLACEHOLDER, _WORDS) for name in place.findall(word)}
    if unknown := sorted(asked - set(values)):
        raise RefusedError(f"nothing is known for <{'>, <'.join(unknown)}>")
    argv: list[str] = []
    for printed in words:
        if several := _WORDS.fullmatch(printed):
            argv += _split(str(values[several[1]]))
            continue
        word = _PLACEHOLDER.sub(lambda place: str(values[place[1]]), printed)
        if word.startswith("-") and not printed.startswith("-"):
            raise RefusedError(f"{word} in place of {printed} would be an option")
        argv.append(word)
    if any(NO_TEXT.search(word) for word in argv):
        raise RefusedError("a value holds characters that are no text")
    if family.only and not any(line.fullmatch(shlex.join(argv)) for line in family.only):
        raise RefusedError(f"lab.toml allows {argv[0]} in other forms only")
    return argv
