"""results.json, schema 1: every claim of every parsed runbook with its verdict, and what each arm took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from runlab.judge import detect, prevent, recover
from runlab.judge.history import ArmHistory, History, from_events, signal_names
from runlab.judge.pieces import Piece, combine
from runlab.model import Claim, JsonObject, Runbook

SCHEMA = 1
_DECIDED = ("confirmed", "observed", "partly", "refuted")


def results(events: Sequence[JsonObject]) -> JsonObject:
    """Judge a whole run from its journal alone."""
    history = from_events(events)
    start, end = history.first.get("run-start", {}), history.first.get("run-end", {})
    claims = [_claim(history, runbook, claim) for runbook in history.runbooks for claim in runbook.claims]
    return {
        "schema": SCHEMA,
        "run": {
            "id": start.get("run"),
            "started": start.get("time"),
            "ended": end.get("time") or (events[-1]["time"] if events else None),
            "command": start.get("command"),
            "seed": start.get("seed"),
            "complete": bool(end),
        }
        | _executed(history, claims),
        "environment": history.first.get("environment", {}).get("environment", start.get("environment", {})),
        "scenarios": [_arm(arm) for arm in history.arms],
        "claims": claims,
        "procedures": recover.judge_procedures(history),
    }


def exit_status(judged: JsonObject, *, min_executed: int = 0) -> int:
    """0: all that was tried held. 1: something was refuted, undecided or failed, or too little ran. 2: nothing ran."""
    if not judged["run"]["executed"]:
        return 2
    wrong = any(c["verdict"] in ("refuted", "inconclusive") for c in chain(judged["claims"], judged["procedures"]))
    failed = any(arm["outcome"] in ("failed", "error") for arm in judged["scenarios"])
    return int(wrong or failed or judged["run"]["executed"] < min_executed)


def _executed(history: History, claims: Sequence[JsonObject]) -> JsonObject:
    needs = Counter(need for event in history.scenarios for need in event.get("lacks", ()))
    planned = {scenario["runbook"] for scenario in history.scenarios}
    return {
        "executed": sum(claim["verdict"] in (*_DECIDED, "inconclusive") for claim in claims),
        "total": len(claims),
        "planned": sum(claim["runbook"] in planned for claim in claims),
        "lacks": dict(needs),
    }


def _claim(history: History, runbook: Runbook, claim: Claim) -> JsonObject:
    pieces, parts = _pieces(history, runbook, claim)
    whole = combine(pieces)
    binding = history.bindings.get(claim.id, {})
    return {
        "id": claim.id,
        "runbook": claim.runbook,
        "kind": claim.kind,
        "role": binding.get("role"),
        "label": claim.label,
        "under": list(claim.under),
        "text": claim.text,
        "file": claim.file,
        "line": claim.line,
        "verdict": whole.verdict,
        "reason": "; ".join(filter(None, (whole.reason, whole.untried if whole.status == "held" else ""))),
        "evidence": list(whole.evidence),
        "parts": parts,
        "by_scenario": [piece.as_data() for piece in pieces if piece.arm],
    }


def _pieces(history: History, runbook: Runbook, claim: Claim) -> tuple[list[Piece], list[JsonObject]]:
    """What is known of a claim, and of each of its parts."""
    if not history.planned(runbook.id):
        return [Piece("untested", "no scenario yet")], [_part(p.text, p.kind, None) for p in claim.parts]
    match claim.kind:
        case "detect":
            return _detect(history, runbook, claim)
        case "cause":
            pieces = detect.judge_cause(history, runbook, claim)
        case "recover":
            pieces = recover.judge_step(history, claim)
        case "prevent":
            pieces = prevent.judge_measure(history, claim) or recover.judge_step(history, claim)
    whole = combine(pieces)
    return pieces, [_part(p.text, p.kind, whole) for p in claim.parts]


def _detect(history: History, runbook: Runbook, claim: Claim) -> tuple[list[Piece], list[JsonObject]]:
    not_signals = history.not_signals.get(runbook.id, {})
    names = signal_names(claim, history.bindings, not_signals)
    by_name = {name: detect.judge_signal(history, runbook, claim, name) for name in names}
    parts = []
    for part in claim.parts:
        if part.text in by_name:
            parts.append(_part(part.text, part.kind, combine(by_name[part.text])))
        else:
            why = not_signals.get(part.text, "no signal by itself; the sentence is judged as a whole")
            parts.append(_part(part.text, part.kind, Piece("untested", why)))
    if not names:
        error = history.bindings.get(claim.id, {}).get("error", "no step for this wording")
        return [Piece("untested", error)], parts
    if len(names) == 1:
        return by_name[names[0]], parts
    return _parts_together(by_name), parts


def _parts_together(by_name: Mapping[str, Sequence[Piece]]) -> list[Piece]:
    """One piece a part, each naming itself, so that a claim of several parts says which of them held.

    Parts of which the same is to be said are named once.
    """
    wholes = {name: combine(pieces) for name, pieces in by_name.items()}
    if len({(whole.status, whole.reason) for whole in wholes.values()}) == 1:
        return list(wholes.values())
    return [
        Piece(whole.status, f"`{name}`: {whole.reason}", whole.evidence, None, whole.controlled, whole.untried)
        for name, whole in wholes.items()
    ]


def _part(text: str, kind: str, whole: Piece | None) -> JsonObject:
    if whole is None:
        whole = Piece("untested", "no scenario yet")
    return {
        "text": text,
        "kind": kind,
        "verdict": whole.verdict,
        "reason": whole.reason,
        "evidence": list(whole.evidence),
    }


def _arm(arm: ArmHistory) -> JsonObject:
    end = arm.end
    return {
        "id": arm.id,
        "runbook": arm.start["runbook"],
        "scenario": arm.start["scenario"],
        "arm": arm.name,
        "fault": arm.start["fault_name"],
        "case": arm.start["case"],
        "outcome": end.get("outcome", "error"),
        "message": end.get("message", "the run was cut off in this arm"),
        "started": arm.start["time"],
        "ended": end.get("time"),
        "floor": end.get("floor", {}),
        **{name: end.get(name) for name in ("ttd_s", "ttr_s", "watched_s", "floor_s", "wall_s", "self_healed_s")},
    }
