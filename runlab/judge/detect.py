"""Claims about how an incident shows, and about what causes it.

A signal is confirmed when it was seen in all cases of at least one cause, and was silent without the fault; silence
counts only while its source answered, its series existed and its last evaluation was fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runlab.journal import evidence
from runlab.judge.history import ArmHistory, History, signal_names
from runlab.judge.pieces import Piece
from runlab.model import Claim, JsonObject, Runbook


def judge_signal(history: History, runbook: Runbook, claim: Claim, name: str) -> list[Piece]:
    """What all arms of the runbook's scenarios say of one signal."""
    key = (claim.id, name)
    scenarios = [s for s in history.planned(runbook.id) if s["cause"]]
    quiet = [arm for s in scenarios for arm in history.arms_of(s["scenario"], "quiet")]
    false_alarms = [arm for arm in quiet if key in arm.seen]
    if false_alarms:
        return [
            Piece("refuted", "also appears without a fault", (evidence(arm.seen[key]),), arm) for arm in false_alarms
        ]
    blind = [
        Piece("inconclusive", f"silent without the fault, but blind: {why}", _source(arm, key), arm)
        for arm in quiet
        if (why := blindness(arm, key))
    ]
    silent = [arm for arm in quiet if not blindness(arm, key)]
    causes = [_of_cause(history, s, key, silent) for s in scenarios]
    if any(piece.status == "held" for pieces in causes for piece in pieces):
        # seen in all cases of one cause is enough; causes in which it never shows say nothing against it
        return [piece for pieces in causes for piece in pieces if piece.status in ("held", "inconclusive")] + blind
    tried = [piece for pieces in causes for piece in pieces] + blind
    if not tried:
        return [Piece("untested", "not run" if scenarios else "no scenario yet")]
    if any(piece.status == "partly" for piece in tried):
        return [piece for piece in tried if piece.status == "partly"]
    missing = _causes_not_injected(history, runbook)
    undecided = [piece for piece in tried if piece.status == "inconclusive"]
    if undecided:
        return undecided
    if missing:
        return [Piece("untested", f"causes not injected: {', '.join(missing)}", _all(tried))]
    return [Piece("refuted", p.reason + _instead(p.arm), p.evidence, p.arm) for p in tried]


def _of_cause(
    history: History, scenario: JsonObject, key: tuple[str, str], silent: Sequence[ArmHistory]
) -> list[Piece]:
    """One scenario's pieces for a signal: held in all its incidents, partly, or refuted in each."""
    by_incident: dict[str, list[ArmHistory]] = {}
    for arm in history.arms_of(scenario["scenario"], "fault", "withheld"):
        by_incident.setdefault(arm.incident, []).append(arm)
    pieces = [_of_incident(arms, key) for arms in by_incident.values()]
    seen = [p for p in pieces if p.status == "held"]
    unseen = [p for p in pieces if p.status == "refuted"]
    if seen and unseen:
        fine, lacking = (", ".join(_in(p.arm) for p in side) for side in (seen, unseen))
        return [Piece("partly", f"seen in {fine}; not in {lacking}", _all(seen + unseen), seen[0].arm)]
    planned, run = len(scenario["incidents"]), len(seen)
    untried = f"{run} of {planned} incidents ran" if run < planned else ""
    quiet_too = [arm for arm in silent if arm.start["scenario"] == scenario["scenario"]]
    return [
        Piece(p.status, p.reason, p.evidence, p.arm, controlled=bool(quiet_too), untried=untried)
        if p.status == "held"
        else p
        for p in pieces
    ]


def _of_incident(arms: Sequence[ArmHistory], key: tuple[str, str]) -> Piece:
    bitten = [arm for arm in arms if arm.bitten]
    if not bitten:
        return Piece("inconclusive", arms[0].unwitnessed, arms[0].witnesses, arms[0])
    for arm in bitten:
        if key in arm.seen:
            event = arm.seen[key]
            return Piece("held", f"seen by {event['by']}", (evidence(event), *arm.witnesses[:1]), arm)
    for arm in bitten:
        blind = blindness(arm, key)
        if blind:
            return Piece("inconclusive", f"silent, but blind: {blind}", _source(arm, key), arm)
    return Piece("refuted", "never appeared", (*_source(bitten[0], key), *bitten[0].witnesses[:1]), bitten[0])


def blindness(arm: ArmHistory, key: tuple[str, str]) -> str:
    """Why silence does not count in this arm; "" when it does."""
    source = arm.sources.get(key)
    if source is None:
        return arm.unsteady or "nobody watched it to the end of the arm"
    lacking = [name for name in ("answers", "exists", "fresh") if not source[name]]
    return (source["detail"] or ", ".join(f"not {name}" for name in lacking)) if lacking else ""


def judge_cause(history: History, runbook: Runbook, claim: Claim) -> list[Piece]:
    """Held in an incident when the fault alone, witnessed, raised at least one signal of the runbook."""
    pieces = []
    for scenario in history.planned(runbook.id):
        if scenario["cause_claim"] != claim.id:
            continue
        quiet = history.arms_of(scenario["scenario"], "quiet")
        noisy = {key for arm in quiet for key in arm.seen}
        arms = history.arms_of(scenario["scenario"], "fault")
        untried = f"{len(arms)} of {len(scenario['incidents'])} incidents ran"
        for arm in arms:
            seen = [e for key, e in arm.seen.items() if key[0].startswith(runbook.id + "/") and key not in noisy]
            if not arm.bitten:
                pieces.append(Piece("inconclusive", arm.unwitnessed, arm.witnesses, arm))
            elif seen:
                names = ", ".join(event["name"] for event in seen)
                found = tuple(evidence(event) for event in seen)
                left = untried if len(arms) < len(scenario["incidents"]) else ""
                pieces.append(
                    Piece("held", f"alone it raised: {names}", found, arm, controlled=bool(quiet), untried=left)
                )
            else:
                pieces.append(_no_signal(history, runbook, arm))
        if not arms:
            pieces.append(Piece("untested", "not run"))
    return pieces


def _no_signal(history: History, runbook: Runbook, arm: ArmHistory) -> Piece:
    """Refuted, unless a signal that could have shown was blind."""
    for claim in runbook.of_kind("detect"):
        for name in signal_names(claim, history.bindings, history.not_signals.get(runbook.id, {})):
            blind = blindness(arm, (claim.id, name))
            if blind:
                return Piece("inconclusive", f"no signal, but {name} was blind: {blind}", arm.witnesses, arm)
    return Piece("refuted", "witnessed, and no signal of the runbook appeared", arm.witnesses, arm)


def _causes_not_injected(history: History, runbook: Runbook) -> list[str]:
    injected = {
        scenario["cause_claim"]
        for scenario in history.planned(runbook.id)
        if any(arm.bitten for arm in history.arms_of(scenario["scenario"], "fault", "withheld"))
    }
    return [claim.label or claim.text for claim in runbook.of_kind("cause") if claim.id not in injected]


def _instead(arm: ArmHistory | None) -> str:
    names: Mapping[str, None] = dict.fromkeys(event["name"] for event in arm.seen.values()) if arm else {}
    return f"; seen instead: {', '.join(names)}" if names else "; no other signal either"


def _source(arm: ArmHistory, key: tuple[str, str]) -> tuple[str, ...]:
    return (evidence(arm.sources[key]),) if key in arm.sources else ()


def _all(pieces: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for piece in pieces for line in piece.evidence))


def _in(arm: ArmHistory | None) -> str:
    return " / ".join(filter(None, (arm.start["fault_name"], arm.start["case"]))) if arm else "?"
