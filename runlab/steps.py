"""Step definitions: a sentence of a runbook is bound, by its whole wording, to the code that carries it out.

    @finds("Identify blocking queries: {query:code}")
    def blocking_sessions(operator, query): ...

What a pattern may hold is told in runlab/sentence.py. Decorators only attach their definition to the function; several
may be stacked, one for each edition of a sentence.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, TypeVar

from runlab import wording
from runlab.model import Claim, Json, Kind, LabError, Probe, PromQL, Role, Runbook, Signal, UsersSay
from runlab.runbook import answers_to, display
from runlab.sentence import Pattern, as_pattern, snippet

StepRole: TypeAlias = Role | Literal["signal"]
Function = TypeVar("Function", bound=Callable[..., Any])

BINDS: Mapping[StepRole, tuple[Kind, ...]] = {
    "finds": ("recover",),
    "acts": ("recover",),
    "advises": ("recover", "prevent"),
    "signal": ("detect",),
}
_ATTACHED = "__runlab_definitions__"


# ---------------------------------------------------------------------------------------------------- decorators


@dataclass(frozen=True)
class Definition:
    """What carries out the sentences that `pattern` matches. `place` is "file:line" of the decorated function.

    `under` narrows it to claims under that label. A finder that `lists` is judged by the truth alone. An act fills its
    placeholders from the facts named in `fills` and changes the state as `promises` says, within `within_s` seconds. An
    advice names `who` must judge, and `why` no experiment can.
    """

    role: StepRole
    pattern: str
    function: Callable[..., Any]
    place: str
    under: str | None = None
    lists: bool = False
    fills: tuple[str, ...] = ()
    promises: Mapping[str, Json] = field(default_factory=dict)
    within_s: float = 10.0
    who: str = ""
    why: str = ""


@dataclass(frozen=True)
class Match:
    """A definition that fits a claim, and the text that each field of its pattern took."""

    definition: Definition
    arguments: dict[str, str]


def finds(pattern: str, *, under: str | None = None, lists: bool = False) -> Callable[[Function], Function]:
    """A sentence that finds something: `function(operator, **fields)` returns facts cut out of a command's output."""
    return _attach("finds", pattern, under=under, lists=lists)


def acts(
    pattern: str,
    *,
    under: str | None = None,
    fills: Sequence[str] = (),
    promises: Mapping[str, Json],
    within_s: float = 10.0,
) -> Callable[[Function], Function]:
    """A sentence that changes something: `function(operator, **fields, **fills)`; then the state is as promised."""
    names = fills if isinstance(fills, str) else tuple(fills)
    return _attach("acts", pattern, under=under, fills=names, promises=promises, within_s=within_s)


def advises(pattern: str, *, who: str, why: str, under: str | None = None) -> Callable[[Function], Function]:
    """A sentence that only people can judge; its function is never called."""
    return _attach("advises", pattern, under=under, who=who, why=why)


def signal(pattern: str) -> Callable[[Function], Function]:
    """A symptom in prose: `function(**fields)`, mostly without any, returns the PromQL or UsersSay that shows it."""
    return _attach("signal", pattern)


def _attach(role: StepRole, pattern: str, **details: Any) -> Callable[[Function], Function]:
    if not isinstance(pattern, str):
        raise TypeError(f'give the sentence: @{role}("…")')

    def attach(function: Function) -> Function:
        code = inspect.unwrap(function).__code__
        place = f"{display(Path(code.co_filename))}:{code.co_firstlineno}"
        definition = Definition(role, pattern, function, place, **details)
        setattr(function, _ATTACHED, (*getattr(function, _ATTACHED, ()), definition))
        return function

    return attach


# ------------------------------------------------------------------------------------------------------ registry


class Registry:
    """The step definitions of one or several modules. Raises LabError, naming the place, for one that can't work."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._patterns = [(definition, _checked(definition)) for definition in definitions]

    @classmethod
    def collect(cls, modules: Iterable[ModuleType]) -> Registry:
        """Gather what the decorators attached to the functions in these modules; an imported function counts once."""
        attached = [d for module in modules for value in vars(module).values() for d in getattr(value, _ATTACHED, ())]
        return cls({id(definition): definition for definition in attached}.values())

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(definition for definition, _ in self._patterns)

    def bind(self, claim: Claim) -> Match | None:
        """The definition for this claim's wording. Raises LabError, naming the places, when several match."""
        matches = [
            Match(definition, arguments)
            for definition, pattern in self._patterns
            if claim.kind in BINDS[definition.role]
            and (definition.under is None or any(answers_to(label, definition.under) for label in claim.under))
            and (arguments := pattern.arguments(claim.text)) is not None
        ]
        if len(matches) > 1:
            places = " and ".join(f'{m.definition.place} "{m.definition.pattern}"' for m in matches)
            raise LabError(f"{len(matches)} steps match {claim.id}: {places}", where=claim.where, mend="keep one")
        return matches[0] if matches else None

    def symptoms(self, runbook: Runbook) -> tuple[Signal, ...]:
        """The symptoms in prose that a @signal definition binds, each with its probe, in the order of the text."""
        bound = [(claim, self.bind(claim)) for claim in runbook.of_kind("detect")]
        return tuple(
            Signal(runbook.id, claim.id, claim.text, "symptom", _probe(match)) for claim, match in bound if match
        )

    def explain_missing(self, claim: Claim) -> str:
        """Why nothing carries out this claim: the nearest known wording, and a definition to paste."""
        known = {
            wording.single_spaced(definition.pattern): definition
            for definition in self.definitions
            if claim.kind in BINDS[definition.role]
        }
        missing = "no step for this wording"
        if near := difflib.get_close_matches(as_pattern(claim.text), known, n=1):
            definition = known[near[0]]
            only = f' under "{definition.under}"' if definition.under else ""
            missing += f'; the nearest known is "{near[0]}"{only} ({definition.place})'
        return "\n".join([missing, *snippet(claim)])


def _checked(definition: Definition) -> Pattern:
    try:
        pattern = Pattern.compile(definition.pattern)
    except ValueError as error:
        raise LabError(
            f'bad pattern "{definition.pattern}" ({error})',
            where=definition.place,
            mend="fields are {name}, {name:code}, {name:d}, {name:g}, {:code}; double the braces of the sentence",
        ) from None
    if not pattern.says_enough(narrowed=definition.under is not None):
        raise LabError(
            f'"{definition.pattern}" could match many a sentence',
            where=definition.place,
            mend="write at least two words of the sentence side by side, or one and `under=`",
        )
    for problem, mend in _problems(definition, pattern.fields):
        raise LabError(problem, where=definition.place, mend=mend)
    return pattern


def _problems(definition: Definition, fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with a definition, and the mend."""
    d = definition
    if d.under is not None and not (isinstance(d.under, str) and d.under.strip()):
        yield "`under` is not a label", 'write under="Increase Ulimit", or leave it out'
    if not isinstance(d.fills, tuple) or not all(isinstance(name, str) and name.isidentifier() for name in d.fills):
        yield "`fills` is not a tuple of names", 'write fills=("pid",)'
    elif both := set(fields) & set(d.fills):
        yield f"{', '.join(sorted(both))} is a field and a fill", "give one of them another name"
    if d.role == "acts":
        yield from _problems_of_act(d)
    if d.role == "advises" and not (_is_text(d.who) and _is_text(d.why)):
        yield "an advice needs `who` and `why`", "name who must judge, and why no experiment can"
    if d.role != "advises":
        first = () if d.role == "signal" else (object(),)
        try:
            inspect.signature(d.function).bind(*first, **dict.fromkeys((*fields, *d.fills)))
        except TypeError as error:
            wanted = (*(() if d.role == "signal" else ("operator",)), *fields, *d.fills)
            yield (
                f"{d.function.__name__} does not fit its pattern ({error})",
                f"write def {d.function.__name__}({', '.join(wanted)})",
            )


def _problems_of_act(act: Definition) -> Iterator[tuple[str, str]]:
    if not isinstance(act.promises, Mapping) or not all(isinstance(name, str) for name in act.promises):
        yield "`promises` is not a mapping of names", 'write promises={"fault": False}'
    elif not act.promises:
        yield "an act that promises nothing can't be judged", 'write promises={"fault": False}'
    elif not _is_json(act.promises):
        yield "`promises` holds something that is no JSON", "use true, numbers, words, lists"
    if isinstance(act.within_s, bool) or not isinstance(act.within_s, int | float) or not act.within_s > 0:
        yield "`within_s` is not a number of seconds above 0", "write within_s=10.0"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _probe(match: Match) -> Probe:
    function, place = match.definition.function, match.definition.place
    try:
        probe = function(**match.arguments)
    except Exception as error:  # a team's own code may raise anything
        raise LabError(f"{function.__name__} raised {type(error).__name__}: {error}", where=place) from error
    if not isinstance(probe, PromQL | UsersSay):
        raise LabError(
            f"{function.__name__} returned {type(probe).__name__}", where=place, mend="return a PromQL or a UsersSay"
        )
    return probe


# ------------------------------------------------------------------------------------------------------- modules


def load_modules(folder: Path) -> list[ModuleType]:
    """Import every steps_*.py of the folder afresh, by name; modules of two folders do not know each other.

    Raises LabError, with file and line, for one that cannot be imported or that defines a step's name twice.
    """
    if not folder.is_dir():
        raise LabError("no such folder", where=display(folder), mend="give the folder of the scenarios")
    prefix = f"runlab_steps_{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
    return [_load(file, f"{prefix}_{file.stem}") for file in sorted(folder.absolute().glob("steps_*.py"))]


def _load(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # a name that ends in .py has a loader
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        _no_name_twice(file)
    except Exception as error:  # a team's own code may raise anything
        del sys.modules[name]
        if isinstance(error, LabError):
            raise
        raise LabError(
            f"cannot be imported ({type(error).__name__}: {_message(error)})",
            where=f"{display(file)}:{_line(error, file)}",
            mend="mend that line",
        ) from error
    return module


def _no_name_twice(file: Path) -> None:
    """A second function of the same name would take the place of the first, and its sentence would lose its step."""
    lines: dict[str, int] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            if node.name in lines:
                raise LabError(
                    f"{node.name} is defined twice, first in line {lines[node.name]}",
                    where=f"{display(file)}:{node.lineno}",
                    mend="give it another name",
                )
            lines[node.name] = node.lineno


def _message(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]


def _line(error: Exception, file: Path) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(file) and error.lineno:
        return error.lineno
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return next((line for line in reversed(frames) if line), 1)
