"""A piece is what one arm says of one claim, or of one part of it; this is how pieces become one verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runlab.judge.history import ArmHistory
from runlab.model import JsonObject, Verdict

Status = Literal["held", "partly", "refuted", "inconclusive", "manual", "untested"]
_RANK: tuple[Status, ...] = ("refuted", "held", "inconclusive", "manual", "untested")

NO_CONTROL = "its control has not run"
"""What every piece that held lacks until the arm that could have contradicted it did not."""

BROKE_OFF = "an arm broke off"
"""What it lacks when an arm that could have contradicted it did not come to its end."""

SEEN_INSTEAD = "; seen instead: "
"""What follows it in a reason is beside the point that the reason makes."""

_FIGURES = re.compile(r"\d+(\.\d+)?(, \d+(\.\d+)?)*( and \d+ more)?")


@dataclass(frozen=True)
class Piece:
    """What one arm showed, or several together. `missing` is why a piece that held is not confirmed yet.

    `part` names the part of the claim that it is about, where that is not the whole.
    """

    status: Status
    reason: str
    evidence: tuple[str, ...] = ()
    arm: ArmHistory | None = None
    missing: tuple[str, ...] = (NO_CONTROL,)
    part: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.status == "held":
            return "observed" if self.missing else "confirmed"
        return self.status

    @property
    def told(self) -> str:
        """The reason, with what is still missing."""
        return "; ".join((self.reason, *(self.missing if self.status == "held" else ())))

    def controlled(self, *evidence: str) -> Piece:
        """The same, now that its control has run and did not contradict it."""
        left = tuple(what for what in self.missing if what != NO_CONTROL)
        return replace(self, missing=left, evidence=(*self.evidence, *evidence))

    def lacking(self, *what: str) -> Piece:
        """The same, with something more that is missing; it matters only to a piece that held."""
        return replace(self, missing=tuple(dict.fromkeys((*self.missing, *what))))

    def as_data(self) -> JsonObject:
        return {"verdict": self.verdict, "reason": self.told, "evidence": list(self.evidence)}


def combine(pieces: Sequence[Piece]) -> Piece:
    """One piece for many. Held in some and refuted in others is `partly`, and the reason names which.

    Otherwise the first of refuted, held, inconclusive, manual, untested. So an arm that could not decide never
    overrides one that held; but what is undecided somewhere is not confirmed either.
    """
    if not pieces:
        return Piece("untested", "no scenario yet")
    statuses = {piece.status for piece in pieces}
    if "partly" in statuses or {"held", "refuted"} <= statuses:
        sides = [piece for piece in pieces if piece.status in ("held", "partly", "refuted")]
        return Piece("partly", _both_sides(sides), _evidence(sides))
    status = next(status for status in _RANK if status in statuses)
    of_it = [piece for piece in pieces if piece.status == status]
    whole = replace(of_it[0], reason=_reasons(of_it), evidence=_evidence(of_it), missing=_missing(of_it), part="")
    undecided = [piece for piece in pieces if piece.status == "inconclusive"]
    if status == "held" and undecided:
        return whole.lacking(f"not decided in every arm: {_reasons(undecided)}")
    return whole


def conditions(pieces: Sequence[Piece]) -> str:
    """What these pieces are about: parts of a sentence, or faults by case: "waiting with A and B, timed out with A"."""
    parts = dict.fromkeys(piece.part for piece in pieces if piece.part)
    cases: dict[str, dict[str, None]] = {}
    for start in (piece.arm.start for piece in pieces if piece.arm and not piece.part):
        cases.setdefault(start["case"], {})[start["fault_name"]] = None
    told = [" with ".join(filter(None, (case, " and ".join(filter(None, faults))))) for case, faults in cases.items()]
    return ", ".join([*parts, *told])


def _reasons(pieces: Sequence[Piece]) -> str:
    """Every reason once; where there are several, each with its conditions."""
    alike = _alike(pieces)
    if len(alike) == 1:
        return pieces[0].reason
    return "; ".join(" ".join(filter(None, (of_it[0].reason, _bracketed(conditions(of_it))))) for of_it in alike)


def _both_sides(pieces: Sequence[Piece]) -> str:
    held, failed = ([p for p in pieces if p.status == status] for status in ("held", "refuted"))
    sides = [f"holds for {conditions(held)}"] if held else []
    sides += [": ".join(filter(None, (piece.part, piece.reason))) for piece in pieces if piece.status == "partly"]
    return "; ".join(sides + [f"fails for {conditions(of_it)}: {of_it[0].reason}" for of_it in _alike(failed)])


def _alike(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Pieces whose reasons say the same but for figures and what else was seen, which differ from arm to arm."""
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        core, _, _ = piece.reason.partition(SEEN_INSTEAD)
        groups.setdefault(_FIGURES.sub("#", core), []).append(piece)
    return list(groups.values())


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


def _evidence(pieces: Iterable[Piece]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for piece in pieces for line in piece.evidence))


def _missing(pieces: Iterable[Piece]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(what for piece in pieces for what in piece.missing))
