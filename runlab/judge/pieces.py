"""A piece is what one arm says of one claim, or of one part of it; this is how pieces become one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from runlab.judge.history import ArmHistory
from runlab.model import JsonObject, Verdict

Status = Literal["held", "partly", "refuted", "inconclusive", "manual", "untested"]
_RANK: tuple[Status, ...] = ("refuted", "held", "inconclusive", "manual", "untested")


@dataclass(frozen=True)
class Piece:
    """What one arm showed. `controlled`: the arm that could have contradicted it has run and did not."""

    status: Status
    reason: str
    evidence: tuple[str, ...] = ()
    arm: ArmHistory | None = None
    controlled: bool = False
    untried: str = ""
    """Why a piece that held is not the whole of it yet: "1 of 4 incidents ran"."""

    @property
    def verdict(self) -> Verdict:
        if self.status == "held":
            return "confirmed" if self.controlled and not self.untried else "observed"
        return self.status

    def as_data(self) -> JsonObject:
        start = self.arm.start if self.arm else {"scenario": None, "case": None, "fault_name": None}
        return {
            "scenario": start["scenario"],
            "arm": self.arm.name if self.arm else None,
            "fault": start["fault_name"],
            "case": start["case"],
            "verdict": self.verdict,
            "reason": self.reason,
        }


def combine(pieces: Sequence[Piece]) -> Piece:
    """One piece for many. Held in some and refuted in others is `partly`, and the reason names which.

    Otherwise the first of refuted, held, inconclusive, manual, untested. So an arm that could not decide never
    overrides one that did.
    """
    if not pieces:
        return Piece("untested", "no scenario yet")
    statuses = {piece.status for piece in pieces}
    if "partly" in statuses or {"held", "refuted"} <= statuses:
        return Piece("partly", _both_sides(pieces), _evidence(pieces))
    status = next(status for status in _RANK if status in statuses)
    of_it = [piece for piece in pieces if piece.status == status]
    return Piece(
        status,
        "; ".join(dict.fromkeys(piece.reason for piece in of_it if piece.reason)),
        _evidence(of_it),
        controlled=all(piece.controlled for piece in of_it),
        untried="; ".join(dict.fromkeys(piece.untried for piece in of_it if piece.untried)),
    )


def _both_sides(pieces: Iterable[Piece]) -> str:
    sides = []
    for status, words in (("held", "holds for"), ("partly", ""), ("refuted", "fails for")):
        of_it = [piece for piece in pieces if piece.status == status]
        if status == "partly":
            sides += [piece.reason for piece in of_it]
        elif of_it:
            where = ", ".join(dict.fromkeys(_condition(piece) for piece in of_it))
            why = "; ".join(dict.fromkeys(piece.reason for piece in of_it)) if status == "refuted" else ""
            sides.append(f"{words} {where}" + (f" ({why})" if why else ""))
    return "; ".join(sides)


def _condition(piece: Piece) -> str:
    if piece.arm is None:
        return "a part"
    start = piece.arm.start
    return " / ".join(filter(None, (start["fault_name"], start["case"])))


def _evidence(pieces: Iterable[Piece]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for piece in pieces for line in piece.evidence))
