"""PromQL as far as the lab must read it: which series it needs, how far back it looks, whether it can be scaled.

Reads with promql-parser. Its `str()` neither escapes label values nor prints `@` once, so text is built here.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import promql_parser as promql

from runlab.model import LabError

_OPERATORS: Final = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}

# Their value grows with the range, so that a number to compare it with would have to shrink by the time scale.
_COUNTS: Final = frozenset(
    {"increase", "delta", "idelta", "count_over_time", "sum_over_time", "changes", "resets"},
)
_EXTRAPOLATES: Final = frozenset({"predict_linear", "deriv"})
_CLOCK: Final = frozenset({"time", "timestamp"})
# Whatever goes in, what comes out is no longer a count of events over a range.
_PURE: Final = frozenset({"absent", "absent_over_time", "histogram_quantile", "sgn", "present_over_time"})
_PURE_AGGREGATES: Final = frozenset({"count", "count_values", "group"})
_COMPARISONS: Final = frozenset({">", "<", ">=", "<=", "==", "!="})


def parse(expression: str, *, where: str = "") -> promql.Expr:
    """The syntax tree. Raises LabError, naming `where`, for what is no PromQL."""
    try:
        return promql.parse(expression)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise LabError(f"no PromQL: {reason}", where=where, mend=f"correct `{expression.strip()}`") from None


def selector_text(selector: promql.VectorSelector) -> str:
    """Name and label matchers alone, without range, `offset` and `@`: `deploys_total{step="migrate"}`."""
    if selector.matchers.or_matchers:
        raise LabError("`or` between label matchers", mend="write two selectors joined by `or`")
    matchers = ",".join(
        f"{matcher.name}{_OPERATORS[str(matcher.op).rpartition('.')[2]]}{json.dumps(matcher.value, ensure_ascii=False)}"
        for matcher in selector.matchers.matchers
    )
    return (selector.name or "") + (f"{{{matchers}}}" if matchers else "")


def selectors(expression: str) -> tuple[str, ...]:
    """Each vector selector of the expression once, in the order of the text, as `selector_text` prints it."""
    found: dict[str, None] = {}

    def note(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            found[selector_text(node)] = None
        return True

    promql.walk(parse(expression), pre_visit=note)
    return tuple(found)


def reach_s(expression: str) -> float:
    """How far back the expression looks, in seconds: the largest sum of range, offset and enclosing subqueries."""
    enclosing: list[timedelta] = [timedelta()]
    farthest = [timedelta()]

    def enter(node: promql.Expr) -> bool:
        back = getattr(node, "offset", None) or timedelta()
        if isinstance(node, (promql.MatrixSelector, promql.SubqueryExpr)):
            back += node.range or timedelta()
        enclosing.append(enclosing[-1] + back)
        farthest[0] = max(farthest[0], enclosing[-1])
        return True

    def leave(_node: promql.Expr) -> bool:
        enclosing.pop()
        return True

    promql.walk(parse(expression), pre_visit=enter, post_visit=leave)
    return farthest[0].total_seconds()


def refuse_unscalable(expression: str, *, where: str = "", recorded: bool = False) -> None:
    """Raise LabError, with its mend, if the expression means something else once its durations are divided.

    Counts over a range may be divided by each other or compared with 0, not with another number. A `recorded` result is
    compared where this text does not show it, and so may not be a count at all.
    """
    order = _order(parse(expression, where=where), where)
    if recorded and order:
        raise LabError(
            "a recorded count over a range does not scale", where=where, mend="record a rate or a ratio of two counts"
        )


def _order(node: Any, where: str) -> int:
    """Of a count over a range 1, of a rate or a ratio 0, and so on: by which power of the time scale it shrinks."""
    match node:
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _order(node.expr, where)
        case promql.AggregateExpr():
            inner = _order(node.expr, where)
            return 0 if str(node.op) in _PURE_AGGREGATES else inner
        case promql.Call():
            return _order_of_call(node, where)
        case promql.BinaryExpr():
            return _order_of_operation(node, where)
        case _:
            return 0


def _order_of_call(call: promql.Call, where: str) -> int:
    name = call.func.name
    if name in _EXTRAPOLATES:
        raise LabError(f"`{name}` does not scale with time", where=where, mend="compare a ratio or a rate instead")
    if name in _CLOCK:
        raise LabError(
            f"arithmetic with `{name}()` does not scale with time", where=where, mend="export the age as a metric"
        )
    inner = max((_order(argument, where) for argument in call.args), key=abs, default=0)
    if name in _PURE:
        return 0
    return inner + (name in _COUNTS)


def _order_of_operation(operation: promql.BinaryExpr, where: str) -> int:
    left, right, operator = _order(operation.lhs, where), _order(operation.rhs, where), str(operation.op)
    if operator == "*":
        return left + right
    if operator == "/":
        return left - right
    if operator in {"and", "unless"}:
        return left
    if operator != "or" and left != right and not (_is_zero(operation.lhs) or _is_zero(operation.rhs)):
        raise LabError(
            f"`{operation.prettify()}`: a count over a range does not scale with time",
            where=where,
            mend="compare a rate() or the ratio of two counts",
        )
    if operator in _COMPARISONS and operation.modifier is not None and operation.modifier.return_bool:
        return 0
    return max(left, right, key=abs)


def _is_zero(node: promql.Expr) -> bool:
    if isinstance(node, (promql.ParenExpr, promql.UnaryExpr)):
        return _is_zero(node.expr)
    return isinstance(node, promql.NumberLiteral) and node.val == 0
