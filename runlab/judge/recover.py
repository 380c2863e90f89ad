"""Claims about how to recover: procedures as a whole, and the control of all that held, the arm without the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runlab.journal import evidence
from runlab.judge import step
from runlab.judge.history import ArmHistory, History, why_not_run
from runlab.judge.pieces import BROKE_OFF, NO_CONTROL, Piece
from runlab.judge.step import Taken
from runlab.model import Claim, JsonObject

_ROUNDED_S = 0.01
"""The journal's seconds are rounded: this much less than twice the time to recover is still twice."""

_NOT_RECOVERED = "no procedure that holds it recovered"


@dataclass(frozen=True)
class Followed:
    """What one fault arm says of the procedure that it followed, and of each sentence of it."""

    arm: ArmHistory
    whole: Piece
    taken: Sequence[Taken]


def follow(history: History) -> list[Followed]:
    """Judge every procedure that was followed, and hold what held against the arm in which the steps were withheld."""
    claims = {claim.id: claim for book in history.runbooks for claim in book.claims}
    found = []
    for arm in history.arms:
        if arm.name != "fault" or not arm.start["procedures"]:
            continue
        taken = step.in_order(arm, claims, history.bindings)
        whole = _with_control(history, _procedure(arm, taken, _never_taken(history, arm)))
        found.append(Followed(arm, whole, [_with_whole(history, one, whole) for one in taken]))
    return found


def judge_step(history: History, claim: Claim, followed: Sequence[Followed]) -> list[Taken]:
    """What every fault arm that took this sentence says of it."""
    taken = _recovered_once([taken for one in followed for taken in one.taken if taken.step.claim == claim.id])
    left = _still_to_come(history, claim)
    return [replace(one, piece=one.piece.lacking(left)) for one in taken] if left else taken


def _recovered_once(taken: list[Taken]) -> list[Taken]:
    """What acts has to have done its part in a procedure that recovered: one is enough, whatever others did not."""
    if not any(one.piece.status == "held" and _NOT_RECOVERED not in one.piece.missing for one in taken):
        return taken
    return [replace(one, piece=_without(one.piece, _NOT_RECOVERED)) for one in taken]


def _without(piece: Piece, what: str) -> Piece:
    return replace(piece, missing=tuple(other for other in piece.missing if other != what))


def why_no_step(history: History, claim: Claim) -> Piece:
    """What is to be said of a sentence that no arm took."""
    binding = history.binding(claim.id)
    if binding.get("role") == "advises":
        return step.advice(binding)
    return Piece("untested", binding.get("error") or why_not_run(history.following(claim.id)))


def as_data(history: History, followed: Followed) -> JsonObject:
    """A line of results.json for the procedure of one incident."""
    arm = followed.arm
    watched = [event for other in _withheld(history, arm) for event in other.of_kind("withheld")]
    return {
        "runbook": arm.start["runbook"],
        "label": " + ".join(arm.start["procedures"]),
        "scenario": arm.start["scenario"],
        "fault": arm.start["fault_name"],
        "case": arm.start["case"],
        **followed.whole.as_data(),
        "ttr_s": arm.end.get("ttr_s"),
        "watched_s": watched[-1]["watched_s"] if watched else None,
    }


def _still_to_come(history: History, claim: Claim) -> str:
    """What the scenarios that follow this sentence, and of which any was begun, may still show; "" when nothing."""
    begun = [s for s in history.following(claim.id) if history.arms_of(s, "fault")]
    arms = [arm for scenario in begun for arm in history.arms_of(scenario, "fault")]
    if not all(arm.finished for arm in arms):
        return BROKE_OFF
    planned = [incident for scenario in begun for incident in scenario["incidents"]]
    ran = {arm.incident for arm in arms}
    return f"{len(ran)} of {len(planned)} incidents ran" if len(ran) < len(planned) else ""


def _procedure(arm: ArmHistory, taken: Sequence[Taken], never_taken: Sequence[str]) -> Piece:
    """Whether the steps, taken in order with the fault in effect, brought back goal, users and alerts for good."""
    began = arm.of_kind("witness", moment="when the steps begin")
    first = arm.of_kind("state", after="before the first step")
    if not began or not all(event["holds"] for event in began):
        return Piece("inconclusive", "the fault was not in effect when the steps began", arm.witnesses, arm)
    if not arm.bitten:
        return Piece("inconclusive", arm.unwitnessed, arm.witnesses, arm)
    if first and first[0]["goal"] is True:
        return Piece("inconclusive", "the goal was reached before the first step", (evidence(first[0]),), arm)
    unclear = [*never_taken, *(one.step.claim for one in taken if _unclear(one))]
    recovered, failed = arm.of_kind("recovered"), arm.of_kind("not-recovered")
    if recovered and step.well(recovered[-1]):
        lines = (evidence(recovered[-1]), *arm.witnesses)
        held = Piece("held", f"recovered in {recovered[-1]['ttr_s']:.1f} s", lines, arm)
        return held.lacking(_steps_unclear(unclear)) if unclear else held
    if not (recovered or failed):
        return Piece("inconclusive", "the arm broke off before recovery was decided", arm.witnesses, arm)
    last = (recovered or failed)[-1]
    reason = f"did not recover: {last.get('detail') or 'goal, users and alerts were not all back'}"
    unclear += [one.step.claim for one in taken if one.piece.status == "manual"]
    if unclear:
        return Piece("inconclusive", f"{reason}; {_steps_unclear(unclear)}", (evidence(last), *arm.witnesses), arm)
    return Piece("refuted", reason, (evidence(last), *arm.witnesses), arm)


def _never_taken(history: History, arm: ArmHistory) -> list[str]:
    """The sentences of this arm's procedure that nobody could carry out."""
    taken = {one.claim for one in arm.steps}
    return [
        claim
        for scenario in history.scenarios
        if all(arm.start[key] == scenario[key] for key in ("runbook", "scenario"))
        for claim in scenario.get("steps", ())
        if claim not in taken
    ]


def _steps_unclear(claims: Sequence[str]) -> str:
    return f"not carried out as written: {', '.join(claims)}"


def _unclear(taken: Taken) -> bool:
    """Not by the text's doing: its definition failed or did something else, or the lab does not allow the command."""
    return taken.piece.status == "inconclusive" or bool(taken.step.refused)


def _with_whole(history: History, taken: Taken, whole: Piece) -> Taken:
    """A step that acts has done its part only in a procedure that recovered; one that finds needs the control alone."""
    piece = taken.piece
    if taken.step.role == "acts" and whole.status != "held":
        piece = piece.lacking(_NOT_RECOVERED)
    return replace(taken, piece=_with_control(history, piece, recovers=taken.step.role == "acts"))


def _with_control(history: History, piece: Piece, *, recovers: bool = True) -> Piece:
    """A piece that held is controlled once the same incident stayed broken for long enough without the steps.

    Where it healed itself, nothing that `recovers` is what recovered it.
    """
    arm = piece.arm
    if piece.status != "held" or arm is None:
        return piece
    withheld = _withheld(history, arm)
    if not all(one.finished for one in (arm, *withheld)):
        piece = piece.lacking(BROKE_OFF)
    watched = [(other, event) for other in withheld for event in other.of_kind("withheld")]
    for _, event in watched:
        if event["recovered"]:
            healed = f"with the steps withheld it self-healed in {event['self_healed_s']:.1f} s"
            lines = (*piece.evidence, evidence(event))
            if recovers:
                return replace(piece, status="inconclusive", reason=f"{piece.reason}, but {healed}", evidence=lines)
            return replace(piece, missing=_instead_of_control(piece, healed), evidence=lines)
    hindered = {other: why for other, event in watched if (why := _too_short(arm, other, event))}
    for other, event in watched:
        if other not in hindered:
            piece = piece.controlled(evidence(event), *other.witnesses)
    return replace(piece, missing=_instead_of_control(piece, *hindered.values()))


def _withheld(history: History, arm: ArmHistory) -> list[ArmHistory]:
    """The arms in which the same incident was watched without its steps."""
    return [other for other in history.arms_of(arm.start, "withheld") if other.incident == arm.incident]


def _too_short(arm: ArmHistory, withheld: ArmHistory, event: JsonObject) -> str:
    """Why this arm could not have contradicted a recovery; "" when it could."""
    if not withheld.bitten or not withheld.of_kind("witness", moment="at the end"):
        return "with the steps withheld the fault was not witnessed to the end"
    recovered = arm.of_kind("recovered")
    needed_s = 2 * recovered[-1]["ttr_s"] if recovered else event["needed_s"]
    if event["watched_s"] + _ROUNDED_S < needed_s:
        return f"the steps were withheld for only {event['watched_s']:.1f} s, not {needed_s:.1f} s"
    return ""


def _instead_of_control(piece: Piece, *why: str) -> tuple[str, ...]:
    """What the piece lacks, saying why its control did not count where it has run."""
    left = [what for what in piece.missing if not (why and what == NO_CONTROL)]
    return tuple(dict.fromkeys((*left, *why)))
