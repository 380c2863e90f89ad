"""Alert rules are written at production scale; a test divides their durations by the time scale.

What would mean something else once it is divided is refused with file, line and mend (see runlab.promql).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import promql_parser as promql
import yaml

from runlab.model import LabError
from runlab.promql import parse, reach_s, refuse_unscalable, selector_text

SCRAPE_S: Final = 0.1
"""How often a scaled Prometheus scrapes and evaluates, in seconds."""

RANGE_FLOOR_S: Final = 4 * SCRAPE_S
"""A shorter range may hold one sample or none when a scrape is late, and then rate() gives nothing."""

_NOTHING: Final = re.compile(r"0+(ms|s|m|h|d|w|y)?")  # promql-parser refuses what Prometheus takes for zero

_Entries: TypeAlias = dict[str, yaml.Node]


def scale_duration(text: str, scale: float, *, floor_s: float = 0.0) -> str:
    """`"5m"` at scale 300 is `"1000ms"`; never shorter than `floor_s`, and never 0 unless it was.

    Raises LabError for what is no Prometheus duration.
    """
    length = _duration(text)
    return _milliseconds(length, scale, floor_s) if length else "0s"


def scale_expression(expression: str, scale: float, *, where: str = "") -> str:
    """The PromQL expression with ranges, offsets, subqueries and their steps divided by `scale`.

    At scale 1 it is returned as it stands. Raises LabError, naming `where`, for what is no PromQL, and at any other
    scale for what does not scale.
    """
    _check(scale)
    tree = parse(expression, where=where)
    if scale == 1:
        return expression
    refuse_unscalable(expression, where=where)

    def divided(node: promql.Expr) -> promql.Expr | None:
        match node:
            case promql.VectorSelector():
                return promql.parse(selector_text(node) + _modifiers(node, scale))
            case promql.MatrixSelector():
                # The selector inside was visited before and has its new offset, so that is not divided again.
                inner = node.vector_selector
                length = _milliseconds(node.range, scale, RANGE_FLOOR_S)
                return promql.parse(f"{selector_text(inner)}[{length}]{_modifiers(inner, 1)}")
            case promql.SubqueryExpr():
                length = _milliseconds(node.range or timedelta(), scale, RANGE_FLOOR_S)
                step = "" if node.step is None else _milliseconds(node.step, scale, SCRAPE_S)
                return promql.parse(f"({node.expr.prettify()})[{length}:{step}]{_modifiers(node, scale)}")
            case _:
                return None

    return promql.transform(tree, post_visit=divided).prettify()


def scale_rules(text: str, scale: float, file: str) -> str:
    """A Prometheus rules file (YAML) with every duration divided by `scale`; unchanged at scale 1.

    `for` and `keep_firing_for` are divided; a group's `interval` too, but is at least one scrape. Raises LabError
    naming `file`, the rule's line and the mend.
    """
    _check(scale)
    root = _compose(text, file)
    for group in _groups(root, file):
        if "interval" in group:
            _replace(group["interval"], scale, file, floor_s=SCRAPE_S)
    for rule in _rules(root, file):
        where = f"{file}:{rule.line}"
        expression = rule.entries["expr"]
        _set(expression, scale_expression(_scalar(expression, file), scale, where=where))
        if scale != 1 and "record" in rule.entries:
            refuse_unscalable(_scalar(expression, file), where=where, recorded=True)
        for key in ("for", "keep_firing_for"):
            if key in rule.entries:
                _replace(rule.entries[key], scale, file)
    return text if scale == 1 or root is None else yaml.serialize(root, allow_unicode=True, width=10_000)


def floor_s(text: str, name: str) -> float:
    """What the alert `name` must wait for by its rule: `for` and how far back its expression looks, in seconds.

    `text` is the rules file as Prometheus has it, so already scaled. The longest of several rules of that name counts.
    Raises LabError when there is none.
    """
    waits = [
        _duration(rule.text("for")).total_seconds() + reach_s(rule.text("expr"))
        for rule in _rules(_compose(text, "rules"), "rules")
        if rule.text("alert") == name
    ]
    if not waits:
        raise LabError(f"no alert rule named {name}", mend="add it to compose/prometheus/rules/")
    return max(waits)


@dataclass(frozen=True)
class _Rule:
    line: int
    entries: _Entries

    def text(self, key: str) -> str:
        """The value of `key`, "0" when there is none."""
        return _scalar(self.entries[key], "rules") if key in self.entries else "0"


def _check(scale: float) -> None:
    if not (math.isfinite(scale) and scale >= 1):
        raise LabError(f"a time scale of {scale:g}", mend="give 1 (production's pace) or more")


def _duration(text: str, where: str = "") -> timedelta:
    try:
        return timedelta() if _NOTHING.fullmatch(text.strip()) else promql.parse_duration(text.strip())
    except ValueError:
        raise LabError(f"{text!r} is no duration", where=where, mend="write it as 90s or 5m") from None


def _milliseconds(length: timedelta, scale: float, floor_s: float) -> str:
    seconds = max(length.total_seconds() / scale, floor_s if scale != 1 else 0.0)
    return f"{max(1, math.ceil(round(seconds * 1000, 6)))}ms"


def _modifiers(node: promql.VectorSelector | promql.SubqueryExpr, scale: float) -> str:
    """`@` as it is (a point in time does not scale) and the offset divided, as text that follows the selector."""
    text = ""
    if node.at is not None:
        kind = str(node.at.type).rpartition(".")[2]
        point = node.at.at
        text += f" @ {point.timestamp():.3f}" if point is not None else f" @ {kind.lower()}()"
    if node.offset:
        sign = "-" if node.offset < timedelta() else ""
        text += f" offset {sign}{_milliseconds(abs(node.offset), scale, 0.0)}"
    return text


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):  # one node under two keys would be divided twice
                where = f"{file}:{token.start_mark.line + 1}"
                raise LabError("a YAML alias (`*`) in a rules file", where=where, mend="write the value out")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LabError(f"no YAML: {error.problem}", where=f"{file}:{line}", mend="correct the rules file") from None


def _groups(root: yaml.Node | None, file: str) -> Iterator[_Entries]:
    if root is None:
        return
    groups = _entries(root, file).get("groups")
    if not isinstance(groups, yaml.SequenceNode):
        raise LabError("no list of groups", where=f"{file}:1", mend="begin the rules file with `groups:`")
    for group in groups.value:
        yield _entries(group, file)


def _rules(root: yaml.Node | None, file: str) -> Iterator[_Rule]:
    for group in _groups(root, file):
        rules = group.get("rules")
        for node in rules.value if isinstance(rules, yaml.SequenceNode) else ():
            entries, line = _entries(node, file), node.start_mark.line + 1
            if "expr" not in entries:
                raise LabError("a rule without `expr`", where=f"{file}:{line}", mend="give it a PromQL expression")
            yield _Rule(line, entries)


def _entries(node: yaml.Node, file: str) -> _Entries:
    if not isinstance(node, yaml.MappingNode):
        raise LabError("not a mapping", where=f"{file}:{node.start_mark.line + 1}", mend="see Prometheus' rules format")
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            where = f"{file}:{key.start_mark.line + 1}"
            raise LabError("a YAML merge (`<<`) in a rules file", where=where, mend="write the keys out")
    return {key.value: value for key, value in node.value}


def _scalar(node: yaml.Node, file: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise LabError("not a plain value", where=f"{file}:{node.start_mark.line + 1}", mend="write one value")
    return str(node.value)


def _set(node: yaml.Node, value: str) -> None:
    node.value, node.tag = value, "tag:yaml.org,2002:str"


def _replace(node: yaml.Node, scale: float, file: str, *, floor_s: float = 0.0) -> None:
    text = _scalar(node, file)
    _duration(text, f"{file}:{node.start_mark.line + 1}")
    _set(node, scale_duration(text, scale, floor_s=floor_s))
