"""Claims about prevention: the same fault with the measure off and on, and the impact that it is said to bound.

A measure that stops everything bounds everything, so the control is that what does no harm still passes.
"""

from __future__ import annotations

from collections.abc import Sequence

from runlab.journal import evidence
from runlab.judge.history import ArmHistory, History, why_not_run
from runlab.judge.pieces import BROKE_OFF, Piece
from runlab.model import Claim, JsonObject


def judge_measure(history: History, claim: Claim) -> list[Piece]:
    """Held when the measure lessens the impact by at least the declared margin, the fault witnessed in both arms."""
    scenarios = [scenario for scenario in history.scenarios if scenario["measure_claim"] == claim.id]
    pieces = [piece for scenario in scenarios for piece in _of_scenario(history, scenario)]
    return pieces or [Piece("untested", why_not_run(scenarios))]


def _of_scenario(history: History, scenario: JsonObject) -> list[Piece]:
    arms = history.arms_of(scenario, "off", "on")
    hindered = {arm: piece for arm in arms if (piece := _hindered(arm))}
    off, on = ([arm for arm in arms if arm.name == name and arm not in hindered] for name in ("off", "on"))
    compared = [_compared(without, with_it, scenario["margin"]) for without in off for with_it in on]
    if compared or hindered:
        harmless = history.arms_of(scenario, "quiet")
        return [*(_unless_it_stops_all(piece, harmless) for piece in compared), *hindered.values()]
    return [Piece("untested", f"only measured with the measure {arm.name}", (), arm) for arm in arms]


def _unless_it_stops_all(piece: Piece, harmless: Sequence[ArmHistory]) -> Piece:
    """The control of a piece that held: with the measure on, the event without harm came to its goal."""
    if piece.status != "held":
        return piece
    looks = [look for arm in harmless for look in arm.of_kind("state", after="trigger")]
    trail = tuple(evidence(look) for look in looks)
    if any(look["goal"] is not True for look in looks):
        reason = f"{piece.reason}; but with it on, what does no harm does not pass either"
        return Piece("refuted", reason, (*piece.evidence, *trail), piece.arm)
    if looks:
        return piece.controlled(*trail)
    return piece.lacking(BROKE_OFF) if harmless else piece


def _hindered(arm: ArmHistory) -> Piece | None:
    """Why nothing follows from this arm, if so. With the measure on, the fault may end: that may be its doing.

    Where there is no fault, the event that does harm must have brought about what it should, in both arms alike.
    """
    measured, ends = arm.of_kind("measure"), arm.of_kind("state", after="end")
    why, faultless = "", arm.start["fault"] is None
    if not faultless and not arm.bitten:
        why = arm.unwitnessed
    elif not (measured and ends):
        why = f"it broke off before the impact was measured with the measure {arm.name}"
    elif faultless and ends[-1]["goal"] is not True:
        why = f"what was to come about did not, with the measure {arm.name}"
    elif not faultless and arm.name == "off" and ends[-1]["fault"] is not True:
        why = "without the measure the fault did not last to the end"
    elif not measured[-1]["requests"]:
        why = "no user asked for anything meanwhile"
    return Piece("inconclusive", why, arm.witnesses, arm) if why else None


def _compared(off: ArmHistory, on: ArmHistory, margin: JsonObject) -> Piece:
    without, with_it = (arm.of_kind("measure")[-1] for arm in (off, on))
    trail = (evidence(without), evidence(with_it), *off.witnesses, *on.witnesses)
    unit = margin["unit"]
    if {without["unit"], with_it["unit"]} != {unit}:
        return Piece("inconclusive", f"the margin is in {unit}, the impact in {without['unit']}", trail, on)
    gained = round(without["value"] - with_it["value"], 6)
    words = (
        f"{without['impact']}: {without['value']:.3g} {unit} without, {with_it['value']:.3g} {unit} with the measure"
    )
    if gained >= margin["by"]:
        return Piece("held", words, trail, on)
    differs = f"less by {gained:.3g} {unit}" if gained >= 0 else f"more by {-gained:.3g} {unit}"
    return Piece("refuted", f"{words}; {differs}, where {margin['by']:g} is called for", trail, on)
