"""A fault as people write it on a command line: `faults.database:IdleInTransaction table=projects`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from runlab.model import Fault, LabError


def fault(name: str, given: Sequence[str]) -> Fault:
    """The fault `module:Class` with its fields set by `field=value`, each value read as the field's type has it.

    A value that is no plain word (a list, a mapping, null) is read as JSON. LabError, naming what was perhaps meant,
    for a module, class or field that does not exist, a value of another type, and a field that is missing.
    """
    kind = _class(name)
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    values = _values(name, given, known)
    missing = [field for field in known if field not in values and not _has_default(known[field])]
    if missing:
        raise LabError(f"{name} lacks {', '.join(missing)}", mend=f"give {_example(known)}")
    hints = get_type_hints(kind)
    try:
        return kind(**{field: _read(name, field, value, hints[field]) for field, value in values.items()})
    except (TypeError, ValueError) as error:  # what the class itself refuses
        raise LabError(f"{name}: {_one_line(error)}", mend="give another value") from None


def _class(name: str) -> type[Fault]:
    module_name, colon, class_name = name.partition(":")
    if not (module_name and colon and class_name):
        raise LabError(f"no fault: {name}", mend="write module:Class, e.g. faults.database:IdleInTransaction")
    module = _module(module_name)
    try:
        kind = attrgetter(class_name)(module)
    except AttributeError:
        there = list(_faults_of(module))
        mend = _meant(class_name, there) or f"there are {', '.join(there) or 'none'}"
        raise LabError(f"{module_name} has no fault {class_name}", mend=mend) from None
    if not (isinstance(kind, type) and issubclass(kind, Fault) and is_dataclass(kind)):
        raise LabError(f"{name} is no fault", mend=f"there are {', '.join(_faults_of(module)) or 'none'}")
    if inspect.isabstract(kind):
        mend = f"name a kind of it: {', '.join(_faults_of(module))}"
        raise LabError(f"{name} only says what several faults have in common", mend=mend)
    return kind


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            mend = _meant(name, _siblings(name)) or "run from the folder that holds faults/"
            raise LabError(f"there is no module {name}", mend=mend) from None
        raise LabError(f"{name} cannot be imported: {_one_line(error)}", mend="install it") from None
    except Exception as error:  # a module may do anything while it is imported
        what = f"{name} cannot be imported: {type(error).__name__}: {_one_line(error)}"
        raise LabError(what, mend="mend that module") from error


def _siblings(name: str) -> list[str]:
    """The modules beside the one of that name, by their whole names."""
    package, _, _ = name.rpartition(".")
    try:
        found = importlib.util.find_spec(package) if package else None
    except ModuleNotFoundError:
        found = None
    places = found.submodule_search_locations if found else None
    if not places:
        return ["faults.database"] if importlib.util.find_spec("faults") else []
    return [f"{package}.{it.name}" for it in pkgutil.iter_modules(list(places))]


def _faults_of(module: ModuleType) -> Iterator[str]:
    """The faults that a module defines itself and that can be injected."""
    for name, it in vars(module).items():
        ours = isinstance(it, type) and issubclass(it, Fault) and it.__module__ == module.__name__
        if ours and is_dataclass(it) and not inspect.isabstract(it):
            yield name


def _values(name: str, given: Sequence[str], known: dict[str, Field[Any]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in given:
        field, equals, value = word.partition("=")
        if not equals:
            raise LabError(f"no field=value: {word}", mend=f"give {_example(known)}")
        if field not in known:
            mend = _meant(field, known) or (f"there are {', '.join(known)}" if known else "it takes none")
            raise LabError(f"{name} has no field {field}", mend=mend)
        if field in values:
            raise LabError(f"{field} is given twice", mend="give it once")
        values[field] = value
    return values


def _read(name: str, field: str, value: str, kind: Any) -> Any:
    adapter = TypeAdapter[Any](kind)
    try:
        return adapter.validate_strings(value)
    except ValidationError as error:
        why = error.errors()[0]["msg"].lower()
    try:
        return adapter.validate_json(value)
    except ValidationError:
        shown = getattr(kind, "__name__", "") if isinstance(kind, type) else str(kind)
        raise LabError(f"{name}: {field}={value}: {why}", mend=f"{field} is {shown}") from None


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _example(known: dict[str, Field[Any]]) -> str:
    return " ".join(f"{name}=…" for name, field in known.items() if not _has_default(field)) or "field=value"


def _meant(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
