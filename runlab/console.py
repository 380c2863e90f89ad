"""The operator's console: the only way in which a step definition can touch or learn anything.

A runbook is untrusted text. Its commands become argument lists, never a shell's line; only families that lab.toml
lists are run, each as its unprivileged account and with a time limit; everything is in the journal with its whole
output. What a definition returns as facts can only be cut out of such an output.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from runlab import curl, sqltext
from runlab.journal import Journal
from runlab.model import Claim, CommandResult, Json, JsonObject, Stack
from runlab.settings import ConsoleSettings, Family
from runlab.sqltext import NO_TEXT, RefusedError

PSQL, CURL = "psql", "curl"
_SHELL = re.compile(r"[;&|<>`$\r\n]")
_PLACEHOLDER = re.compile(r"<([a-z_]+)>")
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
    """What one command printed, and the journal line that holds it."""

    result: CommandResult
    evidence: str

    @property
    def ok(self) -> bool:
        return self.result.status == 0

    def column(self, name: str) -> Found:
        """The column `name` of a CSV output with a header line. Raises LookupError when there is none."""
        rows = csv.DictReader(io.StringIO(self.result.stdout))
        if name not in (rows.fieldnames or ()):
            raise LookupError(f"the output has no column {name}, only {', '.join(rows.fieldnames or ()) or 'nothing'}")
        return self._found([row[name] for row in rows if row[name]], f"column {name}")

    def lines(self) -> Found:
        """Each line that is not blank, stripped."""
        return self._found([line.strip() for line in self.result.stdout.splitlines() if line.strip()], "line")

    def group(self, pattern: str) -> Found:
        """What the first group of `pattern` matched, for every match."""
        return self._found([match[1] for match in re.finditer(pattern, self.result.stdout)], f"group of {pattern}")

    def _found(self, values: Sequence[str], how: str) -> Found:
        return Found(tuple((value, self.evidence) for value in values), how)


class Operator:
    """The person on call, for one step: runs commands, and nothing else. Made anew for each sentence."""

    def __init__(self, stack: Stack, journal: Journal, settings: ConsoleSettings, claim: Claim) -> None:
        self._stack, self._journal, self._settings, self._claim = stack, journal, settings, claim
        self.refused: str | None = None
        """Why the last command that was not allowed was not run; None when all were."""

    def sql(self, query: str, *, each: Mapping[str, Found] | None = None) -> Output:
        """Run SQL by `psql` as the on-call role and return its output as CSV.

        With `each` the query is run once for every value, its bare word of that name replaced by the value; the last
        output is returned. No values: nothing runs, and LookupError is raised. RefusedError: not allowed.
        """
        family = self._family(PSQL, query)
        self._guarded(query, lambda: sqltext.check(query, family.statements))
        queries = [query]
        if each is not None:
            queries = self._guarded(query, lambda: [sqltext.fill(query, values) for values in _each(each)])
        for filled in queries:
            self._guarded(query, lambda filled=filled: sqltext.check(filled, family.statements))  # type: ignore[misc]
        outputs = [
            self._run(
                family,
                query,
                (PSQL, "-X", "--csv", "-c", text),
                {
                    # a query whose psql was killed at the time limit ends too
                    "PGOPTIONS": "-c client_connection_check_interval=500ms",
                    "PGHOST": self._stack.host(family.service),
                    "PGDATABASE": family.database,
                    "PGUSER": family.role,
                    "PGPASSWORD": self._stack.secret(family.password),
                    "PGAPPNAME": "operator",
                    "PGCONNECT_TIMEOUT": "5",
                },
                as_whom=f"role {family.role}",
            )
            for text in queries
        ]
        return outputs[-1]

    def run(self, command: str, *, each: Mapping[str, Found] | None = None) -> Output:
        """Run a command line that holds no shell syntax; `<name>` is filled from `each`, one run for each value.

        A value comes from a server's output and is not trusted: it stays one word, and can't become an option.
        RefusedError: not allowed. SQL is for `sql`.
        """
        words = self._guarded(command, lambda: _words(command))
        family = self._family(words[0], command)
        if words[0] == PSQL:
            self._refuse(command, "psql is run for SQL alone, without options of its own")
        runs = self._guarded(
            command, lambda: [_filled(words, values) for values in ([{}] if each is None else _each(each))]
        )
        complete = self._guarded(command, lambda: [self._reaching(family, argv) for argv in runs])
        return [self._run(family, command, argv, {}, as_whom="") for argv in complete][-1]

    def _reaching(self, family: Family, argv: Sequence[str]) -> Sequence[str]:
        """The command with curl's own options that lead a service's name to its address; others are as they were."""
        if argv[0] != CURL:
            return argv
        leading = ["-q"]  # first of all: without the options that a file in its home may hold
        for name, port in curl.endpoints(argv[1:], family.services):
            leading += ["--connect-to", f"{name}:{port}:{self._stack.host(name)}:{port}"]
        return [CURL, *leading, *argv[1:]]

    def _family(self, name: str, command: str) -> Family:
        family = self._settings.families.get(name)
        if family is None:
            self._refuse(command, f"{name} is not among the families that lab.toml allows")
        return family

    def _run(
        self, family: Family, printed: str, argv: Sequence[str], environment: Mapping[str, str], *, as_whom: str
    ) -> Output:
        result = self._stack.execute(
            argv, account=family.account, environment=environment, time_limit_s=self._settings.time_limit_s
        )
        return Output(
            result,
            self._write(
                printed,
                argv=list(result.argv),
                account=family.account,
                host="operator",
                role=as_whom,
                status=result.status,
                stdout=result.stdout,
                stderr=result.stderr,
                seconds=round(result.seconds, 4),
                refused=None,
            ),
        )

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
            host="operator",
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
    if _SHELL.search(_PLACEHOLDER.sub("", command)):
        raise RefusedError("it needs a shell")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise RefusedError(f"it can't be split into words: {error}") from None
    if not words:
        raise RefusedError("it is empty")
    return words


def _filled(words: Sequence[str], values: Mapping[str, Json]) -> list[str]:
    """The words with a value in each `<place>`."""
    unknown = sorted({name for word in words for name in _PLACEHOLDER.findall(word)} - set(values))
    if unknown:
        raise RefusedError(f"nothing is known for <{'>, <'.join(unknown)}>")
    argv = [_PLACEHOLDER.sub(lambda place: str(values[place[1]]), word) for word in words]
    for word, printed in zip(argv, words, strict=True):
        if word.startswith("-") and not printed.startswith("-"):
            raise RefusedError(f"{word} in place of {printed} would be an option")
        if NO_TEXT.search(word):
            raise RefusedError(f"a value for {printed} holds characters that are no text")
    return argv
