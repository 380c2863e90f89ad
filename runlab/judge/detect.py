"""Claims about how an incident shows, and about what causes it.

A signal is confirmed when it was seen in all incidents (each fault in each case) of at least one cause, and was silent
without the fault; silence counts only while its source answered, its series existed and its last evaluation was fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from runlab.journal import evidence
from runlab.judge.history import ArmHistory, History, SignalKey, why_not_run
from runlab.judge.pieces import BROKE_OFF, SEEN_INSTEAD, Piece, combine
from runlab.model import Claim, JsonObject, Runbook

_PLAIN = ("no scenario yet", "not run")
"""What need not be said of a cause that was not injected."""


def judge_signal(history: History, runbook: Runbook, claim: Claim, name: str) -> list[Piece]:
    """What all arms of the run say of one signal."""
    key = (claim.id, name)
    alarms = [
        Piece("refuted", "also appears without a fault", (evidence(arm.early[key]),), arm)
        for arm in history.arms
        if key in arm.early
    ]
    if alarms:
        return alarms
    causes = _causes(history, runbook)
    tried = {cause: _of_cause(history, of_it, lambda arm: _seen(history, arm, key)) for cause, of_it in causes.items()}
    for best in ("confirmed", "observed", "partly"):
        # a cause in which it always shows is enough: those in which it does not say nothing against it
        if chosen := [piece for pieces in tried.values() if combine(pieces).verdict == best for piece in pieces]:
            return chosen
    pieces = [piece for of_cause in tried.values() for piece in of_cause]
    blind = _blind_without_fault(history, runbook, key)
    if undecided := [piece for piece in pieces if piece.status == "inconclusive"]:
        return undecided + [piece for piece in blind if not any(piece.reason in other.reason for other in undecided)]
    if not pieces:
        return blind or [Piece("untested", why_not_run(history.planned(runbook.id)))]
    if missing := _causes_not_injected(runbook, causes, tried):
        reason = f"causes not injected: {', '.join(missing)}"
        return [replace(piece, status="untested", reason=reason) for piece in pieces]
    return [replace(piece, reason=piece.reason + _instead(piece.arm)) for piece in pieces]


def judge_cause(history: History, runbook: Runbook, claim: Claim) -> list[Piece]:
    """Held in an incident when the fault alone, witnessed, raised at least one signal of the runbook."""
    scenarios = _causes(history, runbook).get(claim.id, [])
    pieces = _of_cause(history, scenarios, lambda arm: _raised(history, runbook, arm))
    return pieces or [Piece("untested", why_not_run(scenarios))]


def blindness(arm: ArmHistory, key: SignalKey) -> str:
    """Why silence does not count in this arm; "" when it does."""
    source = arm.sources.get(key)
    if source is None:
        return arm.unsteady or "nobody watched it to the end of the arm"
    lacking = [name for name in ("answers", "exists", "fresh") if not source[name]]
    if lacking:
        return source["detail"] or ", ".join(f"not {name}" for name in lacking)
    return "" if arm.finished else BROKE_OFF


# ----------------------------------------------------------------------------------------- one cause, one incident


def _causes(history: History, runbook: Runbook) -> Mapping[str, list[JsonObject]]:
    """The scenarios of each cause that has any."""
    causes: dict[str, list[JsonObject]] = {}
    for scenario in history.planned(runbook.id):
        if scenario["cause_claim"]:
            causes.setdefault(scenario["cause_claim"], []).append(scenario)
    return causes


def _of_cause(history: History, scenarios: Sequence[JsonObject], look: Callable[[ArmHistory], Piece]) -> list[Piece]:
    """The pieces of all incidents of one cause; none of them is confirmed while incidents are still to come."""
    incidents: dict[str, list[Piece]] = {}
    for scenario in scenarios:
        for arm in history.arms_of(scenario, "fault", "withheld"):
            incidents.setdefault(arm.incident, []).append(look(arm))
    pieces = [piece for of_it in incidents.values() for piece in _of_incident(of_it)]
    planned = sum(len(scenario["incidents"]) for scenario in scenarios)
    if len(incidents) < planned:
        needed = sorted({need for of_it in scenarios for needs in of_it["lacking"].values() for need in needs})
        why = f" (others need {', '.join(needed)})" if needed else ""
        return [piece.lacking(f"{len(incidents)} of {planned} incidents ran{why}") for piece in pieces]
    return pieces


def _of_incident(pieces: Sequence[Piece]) -> list[Piece]:
    """Seen in one arm of the incident is seen; else it never appeared if one arm was watched from end to end."""
    if any(piece.status == "held" for piece in pieces):
        return [piece for piece in pieces if piece.status != "refuted"]
    return [piece for piece in pieces if piece.status == "refuted"] or list(pieces)


def _seen(history: History, arm: ArmHistory, key: SignalKey) -> Piece:
    """What one arm with a fault says of one signal."""
    if not arm.bitten:
        return Piece("inconclusive", arm.unwitnessed, arm.witnesses, arm)
    if key in arm.seen:
        event = arm.seen[key]
        held = Piece("held", f"seen by {event['by']}{_scale(history, event)}", (evidence(event), *arm.witnesses), arm)
        return _against_silence(history, held, [key])
    if blind := blindness(arm, key):
        return Piece("inconclusive", f"silent, but blind: {blind}", _source(arm, key), arm)
    return Piece("refuted", "never appeared", (*_source(arm, key), *arm.witnesses), arm)


def _raised(history: History, runbook: Runbook, arm: ArmHistory) -> Piece:
    """What one arm with a fault says of its cause."""
    if not arm.bitten:
        return Piece("inconclusive", arm.unwitnessed, arm.witnesses, arm)
    alarms = {key for other in history.arms for key in other.early}
    keys = [(claim.id, name) for claim in runbook.of_kind("detect") for name in history.signals(claim)]
    raised = [key for key in keys if key in arm.seen and key not in alarms]
    if raised:
        names = ", ".join(_name(arm.seen[key]) for key in raised)
        found = tuple(evidence(arm.seen[key]) for key in raised)
        return _against_silence(
            history, Piece("held", f"alone it raised {names}", (*found, *arm.witnesses), arm), raised
        )
    for key in keys:
        if key not in alarms and (blind := blindness(arm, key)):
            return Piece("inconclusive", f"no signal, but {key[1]} was blind: {blind}", arm.witnesses, arm)
    return Piece("refuted", "witnessed, and no signal of the runbook appeared", arm.witnesses, arm)


def _against_silence(history: History, held: Piece, keys: Sequence[SignalKey]) -> Piece:
    """The control: without the fault, in the same case, at least one of these signals must be silent and not blind."""
    assert held.arm is not None
    start = held.arm.start
    quiet = [arm for arm in history.arms if arm.name == "quiet" and arm.start["runbook"] == start["runbook"]]
    if not all(arm.finished for arm in (held.arm, *quiet)):
        held = held.lacking(BROKE_OFF)
    same = [arm for arm in quiet if arm.finished and all(arm.start[key] == start[key] for key in ("scenario", "case"))]
    for key in keys:
        for arm in same:
            if not blindness(arm, key):
                return held.controlled(*_source(arm, key))
    if not same:
        return held
    reason = f"{held.reason}; silent without the fault, but blind: {blindness(same[0], keys[0])}"
    return replace(held, status="inconclusive", reason=reason, evidence=(*held.evidence, *_source(same[0], keys[0])))


# ------------------------------------------------------------------------------------------ why it is not refuted


def _blind_without_fault(history: History, runbook: Runbook, key: SignalKey) -> list[Piece]:
    return [
        Piece("inconclusive", f"silent without the fault, but blind: {blind}", _source(arm, key), arm)
        for scenario in history.planned(runbook.id)
        for arm in history.arms_of(scenario, "quiet")
        if (blind := blindness(arm, key))
    ]


def _causes_not_injected(
    runbook: Runbook, causes: Mapping[str, list[JsonObject]], tried: Mapping[str, list[Piece]]
) -> list[str]:
    """The causes of the text in which the signal may still show, since not all of their incidents were made."""
    missing = []
    for claim in runbook.of_kind("cause"):
        made = {piece.arm.incident for piece in tried.get(claim.id, ()) if piece.arm}
        scenarios = causes.get(claim.id, [])
        planned = sum(len(scenario["incidents"]) for scenario in scenarios)
        if not planned or len(made) < planned:
            why = f"{len(made)} of {planned} incidents" if made else why_not_run(scenarios)
            missing.append((claim.label or claim.text) + ("" if why in _PLAIN else f" ({why})"))
    return missing


def _instead(arm: ArmHistory | None) -> str:
    names = ", ".join(dict.fromkeys(_name(event) for event in arm.seen.values())) if arm else ""
    return f"{SEEN_INSTEAD}{names}" if names else "; no other signal either"


def _name(signal: JsonObject) -> str:
    """An alert by its name; what else was seen in quotation marks."""
    name = str(signal["name"])
    return name if signal["signal_kind"] == "alert" else f"“{name.removesuffix('.')}”"


def _scale(history: History, signal: JsonObject) -> str:
    """An alert's durations may have been divided; whoever reads the verdict must know."""
    scale = history.first.get("environment", {}).get("environment", {}).get("time_scale")
    return f", at time scale {scale:g}" if scale and signal["signal_kind"] == "alert" else ""


def _source(arm: ArmHistory, key: SignalKey) -> tuple[str, ...]:
    return (evidence(arm.sources[key]),) if key in arm.sources else ()
