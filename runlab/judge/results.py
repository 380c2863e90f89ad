"""results.json, schema 1: every claim of every parsed runbook with its verdict, and what each arm took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from runlab.judge import detect, parts, prevent, recover
from runlab.judge.history import ArmHistory, History, from_events, is_impossible, lacks
from runlab.judge.parts import Parts
from runlab.judge.pieces import Piece, combine
from runlab.judge.recover import Followed
from runlab.model import Claim, JsonObject, Part, Runbook

SCHEMA = 1
CUT_OFF = "the run was cut off"
_TRIED = ("confirmed", "observed", "partly", "refuted", "inconclusive")


def results(events: Sequence[JsonObject]) -> JsonObject:
    """Judge a whole run from its journal alone."""
    history = from_events(events)
    start, end = history.first.get("run-start", {}), history.first.get("run-end", {})
    followed = recover.follow(history)
    claims = [_claim(history, runbook, claim, followed) for runbook in history.runbooks for claim in runbook.claims]
    return {
        "schema": SCHEMA,
        "run": {
            "id": start.get("run"),
            "started": start.get("time"),
            "ended": end.get("time") or max((event["time"] for event in events), default=None),
            "command": start.get("command"),
            "seed": start.get("seed"),
            "complete": history.complete,
            **_executed(history, claims),
        },
        "environment": history.first.get("environment", {}).get("environment", {}),
        "scenarios": [_arm(arm) for arm in history.arms],
        "claims": claims,
        "procedures": [recover.as_data(history, replace(f, whole=_unless_cut(history, f.whole))) for f in followed],
    }


def exit_status(judged: JsonObject, *, min_executed: int = 0) -> int:
    """0: all that was tried held. 2: nothing was tried. 1: anything else.

    That is: something was refuted or undecided, an arm failed or broke off, a procedure has a sentence that nobody can
    carry out, or fewer claims than `min_executed` were tried.
    """
    run = judged["run"]
    if not run["executed"]:
        return 2
    wrong = any(c["verdict"] in ("refuted", "inconclusive") for c in chain(judged["claims"], judged["procedures"]))
    failed = any(arm["outcome"] in ("failed", "error") for arm in judged["scenarios"])
    return int(wrong or failed or bool(run["undefined"]) or run["executed"] < min_executed)


# ------------------------------------------------------------------------------------------------------ one claim


@dataclass(frozen=True)
class _Judged:
    pieces: Sequence[Piece]
    whole: Piece
    parts: Parts


def _claim(history: History, runbook: Runbook, claim: Claim, followed: Sequence[Followed]) -> JsonObject:
    match claim.kind:
        case "detect":
            judged = _detect(history, runbook, claim)
        case "cause":
            pieces = detect.judge_cause(history, runbook, claim)
            judged = _Judged(pieces, whole := combine(pieces), parts.of_cause(claim, whole))
        case "recover":
            taken = recover.judge_step(history, claim, followed)
            pieces = [one.piece for one in taken] or [recover.why_no_step(history, claim)]
            judged = _Judged(pieces, whole := combine(pieces), parts.of_step(claim, taken, whole))
        case "prevent":
            pieces = prevent.judge_measure(history, claim)
            if history.binding(claim.id).get("role") == "advises" and not any(piece.arm for piece in pieces):
                pieces = [recover.why_no_step(history, claim)]
            judged = _Judged(pieces, whole := combine(pieces), parts.of_measure(history, claim, whole))
    whole = _unless_cut(history, judged.whole)
    left = parts.not_tried(claim, judged.parts) if whole.status == "held" else ""
    return {
        "id": claim.id,
        "runbook": claim.runbook,
        "kind": claim.kind,
        "role": history.binding(claim.id).get("role"),
        "label": claim.label,
        "under": list(claim.under),
        "text": claim.text,
        "file": claim.file,
        "line": claim.line,
        **whole.as_data(),
        "reason": "; ".join(filter(None, (whole.told, left))),
        "parts": [_part(part, _unless_cut(history, piece)) for part, piece in judged.parts.items()],
        "by_scenario": _by_scenario(history, judged.pieces),
    }


def _detect(history: History, runbook: Runbook, claim: Claim) -> _Judged:
    names, not_signals = history.signals(claim), history.not_signals.get(runbook.id, {})
    pieces = {name: detect.judge_signal(history, runbook, claim, name) for name in names}
    wholes = {name: combine(of_it) for name, of_it in pieces.items()}
    of_parts = parts.of_signals(claim, wholes, not_signals)
    if len(names) == 1:
        return _Judged(pieces[names[0]], wholes[names[0]], of_parts)
    if not names:
        why = history.binding(claim.id).get("error") or _nothing_to_see(history, runbook)
        return _Judged([], Piece("untested", why), of_parts)
    named = {name: "the symptom" if name == claim.text else f"`{name}`" for name in names}
    whole = combine([replace(wholes[name], part=named[name]) for name in names])
    return _Judged([replace(p, part=named[name]) for name in names for p in pieces[name]], whole, of_parts)


def _nothing_to_see(history: History, runbook: Runbook) -> str:
    return "it names no signal" if history.planned(runbook.id) else "no scenario yet"


def _unless_cut(history: History, piece: Piece) -> Piece:
    """What a run would still have shown is unknown once it was cut off, so nothing of it is confirmed."""
    return piece if history.complete else piece.lacking(CUT_OFF)


def _part(part: Part, piece: Piece) -> JsonObject:
    return {"text": part.text, "kind": part.kind, **piece.as_data()}


def _by_scenario(history: History, pieces: Sequence[Piece]) -> list[JsonObject]:
    """One entry for each arm, also where it says something of several parts."""
    by_arm: dict[ArmHistory, list[Piece]] = {}
    for piece in pieces:
        if piece.arm:
            by_arm.setdefault(piece.arm, []).append(piece)
    return [
        {
            "scenario": arm.start["scenario"],
            "arm": arm.name,
            "fault": arm.start["fault_name"],
            "case": arm.start["case"],
            **_unless_cut(history, combine(of_it)).as_data(),
        }
        for arm, of_it in by_arm.items()
    ]


# ------------------------------------------------------------------------------------------------- the run, an arm


def _executed(history: History, claims: Sequence[JsonObject]) -> JsonObject:
    """How many claims were tried, could have been tried here, and are there at all; what could not, and why."""
    tried = {claim["id"] for claim in claims if claim["verdict"] in _TRIED}
    planned = {scenario["runbook"] for scenario in history.scenarios}
    return {
        "executed": len(tried),
        "executable": len(tried | _executable(history)),
        "total": len(claims),
        "planned": sum(claim["runbook"] in planned for claim in claims),
        "lacks": dict(Counter(need for scenario in history.scenarios for need in lacks(scenario))),
        "undefined": [
            c["id"] for c in claims if history.following(c["id"]) and not history.binding(c["id"]).get("role")
        ],
    }


def _executable(history: History) -> set[str]:
    """The claims that some scenario can try on this runtime, be it selected or not."""
    able = [scenario for scenario in history.scenarios if not is_impossible(scenario)]
    found = {scenario[which] for scenario in able for which in ("cause_claim", "measure_claim")} - {None}
    for scenario in able:
        found |= {c for c in scenario.get("steps", ()) if history.binding(c).get("role") in ("finds", "acts")}
    watched = {scenario["runbook"] for scenario in able if scenario["cause_claim"]}
    books = [runbook for runbook in history.runbooks if runbook.id in watched]
    return found | {c.id for book in books for c in book.of_kind("detect") if history.signals(c)}


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
