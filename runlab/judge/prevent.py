"""Claims about prevention: the same fault with the measure off and on, and the impact that it is said to bound."""

from __future__ import annotations

from runlab.journal import evidence
from runlab.judge.history import ArmHistory, History
from runlab.judge.pieces import Piece
from runlab.model import Claim, JsonObject


def judge_measure(history: History, claim: Claim) -> list[Piece]:
    """Held when the measure lessens the impact by at least the declared margin, the fault witnessed in both arms."""
    return [
        _compared(history, scenario["scenario"], scenario["margin"])
        for scenario in history.scenarios
        if scenario["measure_claim"] == claim.id
    ]


def _compared(history: History, scenario: str, margin: dict[str, float]) -> Piece:
    off, on = (next(iter(history.arms_of(scenario, name)), None) for name in ("off", "on"))
    if off is None and on is None:
        return Piece("untested", "not run")
    for arm in filter(None, (off, on)):
        if not arm.bitten:
            return Piece("inconclusive", arm.unwitnessed, arm.witnesses, arm)
    one = on or off
    if off is None or on is None or not (_measures(off) and _measures(on)):
        return Piece("inconclusive", "one of off and on was not measured", (), one)
    without, with_it = _measures(off)[-1], _measures(on)[-1]
    trail = (evidence(without), evidence(with_it))
    blind = next((m for m in (without, with_it) if not m["requests"]), None)
    if blind is not None:
        return Piece("inconclusive", "no user asked for anything meanwhile", trail, on)
    gained = without["value"] - with_it["value"]
    unit = without["unit"]
    words = f"{without['impact']}: {without['value']:g} {unit} without, {with_it['value']:g} {unit} with the measure"
    if gained >= margin["by"]:
        return Piece("held", words, trail, on, controlled=True)
    return Piece("refuted", f"{words}; less by {gained:g} {unit}, not {margin['by']:g}", trail, on)


def _measures(arm: ArmHistory) -> list[JsonObject]:
    return arm.of_kind("measure")
