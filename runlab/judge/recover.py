"""Claims about how to recover: single sentences, each by its own effect, and procedures as a whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence

from runlab.journal import evidence
from runlab.judge.history import ArmHistory, History
from runlab.judge.pieces import Piece, Status
from runlab.model import Claim, Json, JsonObject


def judge_step(history: History, claim: Claim) -> list[Piece]:
    """What every fault arm that took this sentence says of it."""
    pieces = []
    for arm in history.arms:
        piece = step_in_arm(arm, claim, history.bindings.get(claim.id, {}))
        if piece is not None:
            pieces.append(_with_control(history, arm, piece))
    if pieces:
        return pieces
    binding = history.bindings.get(claim.id)
    if binding is None:
        return [Piece("untested", "no scenario yet")]
    return [Piece("untested", binding.get("error") or "not run")]


def judge_procedures(history: History) -> list[JsonObject]:
    """A line for every incident in which a procedure was followed."""
    lines = []
    for arm in history.arms:
        if arm.name != "fault" or not arm.start["procedures"]:
            continue
        piece = _with_control(history, arm, procedure_in_arm(arm))
        withheld = _withheld(history, arm)
        lines.append(
            {
                "runbook": arm.start["runbook"],
                "label": " + ".join(arm.start["procedures"]),
                "scenario": arm.start["scenario"],
                "fault": arm.start["fault_name"],
                "case": arm.start["case"],
                "verdict": piece.verdict,
                "reason": piece.reason,
                "evidence": list(piece.evidence),
                "ttr_s": arm.end.get("ttr_s"),
                "watched_s": withheld["watched_s"] if withheld else None,
            }
        )
    return lines


def procedure_in_arm(arm: ArmHistory) -> Piece:
    """Whether the steps, taken in order with the fault in effect, brought back goal, users and alerts for good."""
    began = arm.of_kind("witness", moment="when the steps begin")
    if not began or not all(event["holds"] for event in began):
        return Piece("inconclusive", "the fault was not in effect when the steps began", arm.witnesses, arm)
    first = arm.of_kind("state", after="before the first step")
    if first and first[0]["goal"] is True:
        return Piece("inconclusive", "the goal was reached before the first step", (evidence(first[0]),), arm)
    recovered, failed = arm.of_kind("recovered"), arm.of_kind("not-recovered")
    if recovered:
        found = recovered[-1]
        return Piece("held", f"recovered in {found['ttr_s']:.1f} s", (evidence(found), evidence(began[-1])), arm)
    if failed:
        return Piece("refuted", f"did not recover: {failed[-1]['detail']}", (evidence(failed[-1]),), arm)
    return Piece("inconclusive", "the arm ended before recovery was decided", (), arm)


def step_in_arm(arm: ArmHistory, claim: Claim, binding: JsonObject) -> Piece | None:
    """What one arm says of one sentence, or None where the arm did not take it."""
    ends = arm.of_kind("step-end", claim=claim.id)
    starts = arm.of_kind("step-start", claim=claim.id)
    if not starts:
        return None
    if not ends:
        return Piece("inconclusive", "the run ended during this step", (evidence(starts[0]),), arm)
    start, end = starts[0], ends[0]
    if start["role"] == "advises":
        return Piece("manual", f"{binding.get('who')} must judge: {binding.get('why')}", (evidence(end),), arm)
    before = arm.of_kind("state", after=f"before {claim.id}")
    if before and _well(before[0]):
        return Piece("untested", "already recovered", (evidence(before[0]),), arm)
    commands = arm.of_kind("command", claim=claim.id)
    trail = tuple(evidence(event) for event in (*commands, end))
    hindrance = _hindrance(end["error"], start["role"])
    if hindrance:
        return Piece(*hindrance, trail, arm)
    judged = _finds if start["role"] == "finds" else _acts
    return judged(arm, claim, binding, end, commands, trail)


def _hindrance(error: str | None, role: str) -> tuple[Status, str] | None:
    """A step that did not come to its effect, and whose fault that is."""
    if not error:
        return None
    if error.startswith("command not allowed"):
        return "untested", error
    if error.startswith("no earlier step found"):
        return "untested", f"depends on an earlier step: {error}"
    if error.startswith("LookupError: "):
        return "refuted", error.removeprefix("LookupError: ")
    return "inconclusive", f"the definition of this step that {role} failed: {error}"


def _finds(
    arm: ArmHistory,
    claim: Claim,
    binding: JsonObject,
    end: JsonObject,
    commands: Sequence[JsonObject],
    trail: tuple[str, ...],
) -> Piece:
    seen = arm.last_before(arm.of_kind("step-start", claim=claim.id)[0], "witness")
    witness = next((e for e in arm.of_kind("witness", moment=f"before {claim.id}")), seen)
    if witness is None or not witness["holds"]:
        return Piece("inconclusive", "the fault was not in effect when this step began", trail, arm)
    trail = (*trail, evidence(witness))
    cheat = _by_other_means(claim, commands) or _not_from_output(claim, end["facts"], commands)
    if cheat:
        return Piece("inconclusive", cheat, trail, arm)
    known = {name: [str(v) for v in values] for name, values in witness["truth"].items() if values}
    judged = {name: found for name, found in end["facts"].items() if name in known}
    if not judged:
        names = ", ".join(end["facts"]) or "nothing"
        return Piece("inconclusive", f"no witness knows the truth about what it found ({names})", trail, arm)
    for name, found in judged.items():
        values = [str(fact["value"]) for fact in found]
        lacking = [value for value in known[name] if value not in values]
        innocents = {str(value) for value in witness["innocents"].get(name, ())}
        named = [value for value in values if value in innocents]
        if lacking:
            instead = f"; it names {_some(values)} instead" if values else "; it names nothing"
            return Piece("refuted", f"{name} {_some(lacking)} is missing{instead}", trail, arm)
        if named and not binding.get("lists") and not _ranked_below(values, known[name], innocents):
            return Piece("refuted", f"it also names innocent {name} {_some(named)}", trail, arm)
    return Piece("held", _how("found " + ", ".join(judged), commands), trail, arm)


def _acts(
    arm: ArmHistory,
    claim: Claim,
    binding: JsonObject,
    end: JsonObject,
    commands: Sequence[JsonObject],
    trail: tuple[str, ...],
) -> Piece:
    cheat = _by_other_means(claim, commands)
    if cheat:
        return Piece("inconclusive", cheat, trail, arm)
    failed = [c for c in commands if c["status"] != 0]
    if failed:
        last = (failed[-1]["stderr"] or "").strip().splitlines()[-1:] or [f"status {failed[-1]['status']}"]
        return Piece("refuted", f"cannot run as printed: {last[0]}", trail, arm)
    before = arm.of_kind("state", after=f"before {claim.id}")
    after = arm.of_kind("state", after=claim.id)
    promises: Mapping[str, Json] = binding.get("promises") or {}
    if not (before and after and promises):
        return Piece("inconclusive", "no state was written down before and after it", trail, arm)
    trail = (*trail, evidence(before[0]), evidence(after[0]))
    already = [name for name, wanted in promises.items() if _value(before[0], name) == wanted]
    broken = [name for name, wanted in promises.items() if _value(after[0], name) != wanted]
    if broken:
        blame = _refuted_before(arm, claim, end)
        if blame and (end["used"] or after[0]["fault"]):
            return Piece("untested", f"depends on a refuted step: {blame}", trail, arm)
        reason = ", ".join(f"{name} is {_value(after[0], name)!r}, not {promises[name]!r}" for name in broken)
        return Piece("refuted", _how(f"what it promises did not come about: {reason}", commands), trail, arm)
    if len(already) == len(promises):
        return Piece("untested", "what it promises was so already", trail, arm)
    whole = procedure_in_arm(arm)
    reason = ", ".join(f"{name} became {wanted!r}" for name, wanted in promises.items())
    if whole.status != "held":
        return Piece("held", _how(reason, commands), trail, arm, untried="no procedure that holds it recovered")
    return Piece("held", _how(reason, commands), trail, arm)


def _refuted_before(arm: ArmHistory, claim: Claim, end: JsonObject) -> str:
    """The step that spoilt this one: whose facts it used, or else the last one before it that was refuted."""
    for earlier in reversed(arm.events[: arm.events.index(end)]):
        if earlier["kind"] != "step-end" or earlier["claim"] == claim.id:
            continue
        start = arm.of_kind("step-start", claim=earlier["claim"])[0]
        if start["role"] != "finds":
            continue
        witness = next((e for e in arm.of_kind("witness", moment=f"before {earlier['claim']}")), None)
        truth = {name: {str(v) for v in values} for name, values in (witness or {}).get("truth", {}).items() if values}
        found = {name: {str(f["value"]) for f in facts} for name, facts in earlier["facts"].items()}
        if earlier["error"] or any(truth[name] - values for name, values in found.items() if name in truth):
            return str(earlier["claim"])
    return ""


def _own_commands(claim: Claim) -> Collection[str]:
    """The commands that the sentence itself prints; one with an ellipsis is an example of one."""
    return {p.text for p in claim.parts if p.kind == "command" and " " in p.text and "..." not in p.text}


def _by_other_means(claim: Claim, commands: Sequence[JsonObject]) -> str:
    """That the definition carried out something else than the sentence prints; "" when it did not."""
    own = _own_commands(claim)
    run = any(command["printed"] in own for command in commands)
    return "the sentence's own command was not run" if own and not run else ""


def _not_from_output(claim: Claim, facts: Mapping[str, Sequence[JsonObject]], commands: Sequence[JsonObject]) -> str:
    """Why these facts can't be trusted: not in the output they claim, or not of the sentence's own command."""
    own, by_evidence = _own_commands(claim), {evidence(command): command for command in commands}
    for name, found in facts.items():
        for fact in found:
            command = by_evidence.get(fact["evidence"])
            if command is None or not _stands_in(command["stdout"], fact):
                return f"{name} {fact['value']} does not stand in the output of any command of this step"
            if own and command["printed"] not in own:
                return f"{name} {fact['value']} was not read from the sentence's own command"
    return ""


def _stands_in(output: str, fact: JsonObject) -> bool:
    """Whether reading the output again, in the way that the fact names, gives its value."""
    way, _, what = str(fact["column"]).partition(" ")
    if way == "column":
        values = [row.get(what) for row in csv.DictReader(io.StringIO(output))]
    elif way == "group":
        values = [match[1] for match in re.finditer(what.removeprefix("of "), output)]
    else:
        values = [line.strip() for line in output.splitlines()]
    return str(fact["value"]) in values


def _ranked_below(values: Sequence[str], truth: Sequence[str], innocents: set[str]) -> bool:
    first_innocent = next((i for i, value in enumerate(values) if value in innocents), len(values))
    return all(values.index(value) < first_innocent for value in truth)


def _how(reason: str, commands: Sequence[JsonObject]) -> str:
    """The reason with what a reader must know about how the command was run."""
    notes = []
    if commands and not any(c["printed"] for c in commands):
        notes.append(f"tool: ours ({commands[0]['argv'][0]})")
    if any(c["printed"] and not any(c["printed"] in word for word in c["argv"]) for c in commands):
        notes.append("with substitution")
    notes += sorted({f"as {c['role']}" for c in commands if c.get("role")})
    return f"{reason} [{', '.join(notes)}]" if notes else reason


def _with_control(history: History, arm: ArmHistory, piece: Piece) -> Piece:
    """A piece that held is controlled once the same incident stayed broken for long enough without the steps."""
    if piece.status != "held":
        return piece
    withheld = _withheld(history, arm)
    if withheld is None:
        return piece
    if withheld["recovered"]:
        healed = f"self-healed in {withheld['self_healed_s']:.1f} s with the steps withheld"
        return Piece("inconclusive", f"{piece.reason}, but it {healed}", (*piece.evidence, evidence(withheld)), arm)
    long_enough = withheld["watched_s"] >= 2 * (arm.end.get("ttr_s") or 0.0)
    planned: list[str] = next((s["incidents"] for s in history.scenarios if s["scenario"] == arm.start["scenario"]), [])
    run = {a.incident for a in history.arms_of(arm.start["scenario"], "fault")}
    untried = piece.untried or (f"{len(run)} of {len(planned)} incidents ran" if len(run) < len(planned) else "")
    trail = (*piece.evidence, evidence(withheld))
    return Piece("held", piece.reason, trail, arm, controlled=long_enough, untried=untried)


def _withheld(history: History, arm: ArmHistory) -> JsonObject | None:
    for other in history.arms_of(arm.start["scenario"], "withheld"):
        if other.incident == arm.incident and other.bitten:
            return next(iter(other.of_kind("withheld")), None)
    return None


def _well(state: JsonObject) -> bool:
    return state["goal"] is True and all(seen["holds"] for seen in state["settled"].values())


def _value(state: JsonObject, name: str) -> Json:
    value: Json = state[name] if name in ("goal", "fault") else state["more"].get(name)
    return value


def _some(values: Sequence[str]) -> str:
    shown = ", ".join(dict.fromkeys(values[:5]))
    return shown + (f" and {len(values) - 5} more" if len(values) > 5 else "")
