"""A Compose document as data: YAML files, their strings interpolated, with the file and line of each key.

`include` is that of the specification, in its short form: the files that a document names, relative to it, are read
too, and what they declare becomes the document's own. YAML itself lets the last of two equal keys win without a word;
here a key that stands twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runlab.model import LabError

Loc = Sequence[int | str]
"""The way to a value: keys and indices from the document's root."""

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+])(?P<operand>[^{}]*))?\})?",
    re.ASCII,
)
_INCLUDED = ("services", "configs", "secrets")


@dataclass(frozen=True)
class _File:
    path: Path
    root: yaml.Node | None
    data: Any

    def place(self, loc: Loc) -> str:
        return f"{self.path}:{_line(self.root, loc)}"


@dataclass(frozen=True)
class Document:
    """`data` of all files together: what is included stands first, in the order of `include`, which is not in it."""

    data: Any
    _file: _File
    _included: Mapping[tuple[int | str, ...], _File]
    """By section and name."""

    def place(self, loc: Loc) -> str:
        """`file:line` of the innermost value on the way to `loc`."""
        return self._included.get(tuple(loc[:2]), self._file).place(loc)


def load(path: Path, variables: Mapping[str, str] | None = None) -> Document:
    """Read the document at `path`, its strings interpolated with `variables`; with None they are left as they stand.

    Raises LabError with file and line for files that cannot be read, YAML errors, keys that stand twice, variables
    without a value or default, and for an included file that declares what is declared already or cannot be included.
    """
    file = _read(path, variables)
    if not isinstance(file.data, dict) or "include" not in file.data:
        return Document(file.data, file, {})
    data = dict(file.data)
    origin: dict[tuple[int | str, ...], _File] = {}
    whole: dict[str, dict[str, Any]] = {}
    for part in [_read(path.parent / name, variables) for name in _names(file, data.pop("include"))]:
        for section, name, value in _declared(part):
            loc = (section, name)
            if loc in origin or name in (file.data.get(section) or {}):
                first = origin.get(loc, file).place(loc)
                raise LabError(f"{section}.{name} is declared already, at {first}", where=part.place(loc))
            origin[loc] = part
            whole.setdefault(section, {})[name] = value
    for section, declared in whole.items():
        own = data.get(section)
        data[section] = {**declared, **own} if isinstance(own, dict) else declared if own is None else own
    return Document(data, file, origin)


def interpolate(text: str, variables: Mapping[str, str], *, where: str = "") -> str:
    """Compose's interpolation: $NAME, ${NAME}, ${NAME:-default}, ${NAME:?message}, ${NAME:+other}, and $$ for $.

    `:` also counts an empty value as unset. LabError, naming `where`, for a value that is missing and a stray $.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["bare"] or match["braced"]
        if not name:
            raise LabError("a lone $", where=where, mend="write $$ for a literal $")
        found, operator = variables.get(name), match["operator"] or ""
        operand = match["operand"] or ""
        given = found if found or not operator.startswith(":") else None
        if operator.endswith("+"):
            return "" if given is None else operand
        if given is not None:
            return given
        if operator.endswith("-"):
            return operand
        detail = operand if operator.endswith("?") and operand else "has no value"
        raise LabError(f"${{{name}}}: {detail}", where=where, mend=f"set it, or write ${{{name}:-default}}")

    return _VARIABLE.sub(value, text)


def _read(path: Path, variables: Mapping[str, str] | None) -> _File:
    try:
        loader = _loader(path, variables)(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        _refuse_doubled(root, path)
        return _File(path, root, None if root is None else loader.construct_document(root))
    except OSError as error:
        raise LabError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LabError(f"no YAML: {error.problem}", where=f"{path}:{line}") from None


def _loader(path: Path, variables: Mapping[str, str] | None) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Interpolates each string where its line is still known."""

    def string(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
        if variables is None or "$" not in node.value:
            return str(node.value)
        first = node.start_mark.line + (2 if node.style in {"|", ">"} else 1)
        lines = str(node.value).split("\n")
        where = (f"{path}:{number}" for number in range(first, first + len(lines)))
        return "\n".join(interpolate(line, variables, where=place) for line, place in zip(lines, where, strict=True))

    Loader.add_constructor("tag:yaml.org,2002:str", string)
    return Loader


def _refuse_doubled(root: yaml.Node | None, path: Path) -> None:
    """To be asked before anything is constructed: that puts merged keys beside a mapping's own."""
    todo, known = [root], set[int]()
    while todo:
        node = todo.pop()
        if node is None or id(node) in known:
            continue
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                todo.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if key.value in lines:
                    message = f"{key.value} stands twice in one mapping, first in line {lines[key.value]}"
                    raise LabError(message, where=f"{path}:{line}")
                lines[key.value] = line


def _names(file: _File, include: Any) -> list[str]:
    if not isinstance(include, list) or not all(isinstance(name, str) for name in include):
        raise LabError("include: must be a list of file names", where=file.place(("include",)))
    return include


def _declared(part: _File) -> Iterator[tuple[str, str, Any]]:
    """Section, name and value of each thing that an included file declares."""
    if not isinstance(part.data, dict):
        raise LabError("nothing is declared here", where=str(part.path))
    for section, declared in part.data.items():
        if str(section).startswith("x-") and section != "x-lab":
            continue
        if section not in _INCLUDED or not isinstance(declared, dict):
            raise LabError(
                f"{section}: cannot be included",
                where=part.place((section,)),
                mend=f"an included file has mappings of {', '.join(_INCLUDED)}",
            )
        yield from ((section, name, value) for name, value in declared.items())


def _line(root: yaml.Node | None, loc: Loc) -> int:
    """The line of the innermost node on the way to `loc`; of a merged key and a mapping's own, the own one's."""
    line, node = 1, root
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == str(step)]
            if not pairs:
                break
            line, node = pairs[-1][0].start_mark.line + 1, pairs[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
