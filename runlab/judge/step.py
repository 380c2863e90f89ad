"""What one arm says of a single sentence of a procedure: each is judged by its own effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from runlab import tables
from runlab.journal import evidence
from runlab.judge.history import ArmHistory, Step, of_kind
from runlab.judge.pieces import Piece, Status
from runlab.model import Claim, Json, JsonObject


@dataclass(frozen=True)
class Taken:
    """A sentence that an arm carried out, and what that says of it."""

    step: Step
    piece: Piece
    promises: Mapping[str, Json] = field(default_factory=dict)


def in_order(arm: ArmHistory, claims: Mapping[str, Claim], bindings: Mapping[str, JsonObject]) -> list[Taken]:
    """Judge the sentences that this arm carried out, each knowing those before it."""
    taken: list[Taken] = []
    for step in arm.steps:
        if claim := claims.get(step.claim):
            binding = bindings.get(claim.id, {})
            sentence = _Sentence(arm, step, claim, binding, tuple(taken))
            taken.append(Taken(step, sentence.judged(), binding.get("promises") or {}))
    return taken


def advice(binding: JsonObject) -> Piece:
    """A sentence that only people can follow is manual, whether or not a procedure came to it."""
    return Piece("manual", f"{binding['who']} must judge: {binding['why']}")


def well(state: JsonObject) -> bool:
    """The goal is reached, users are served and nothing fires, as far as anybody looked."""
    settled = state["settled"].values()
    return state["goal"] is True and bool(settled) and all(seen["holds"] for seen in settled)


@dataclass(frozen=True)
class _Sentence:
    arm: ArmHistory
    step: Step
    claim: Claim
    binding: JsonObject
    earlier: tuple[Taken, ...]

    def judged(self) -> Piece:
        return self._piece(*(self._not_tried() or self._effect()))

    def _not_tried(self) -> tuple[Status, str] | None:
        """Why this sentence could have no effect of its own here; None when it could."""
        step, end = self.step, self.step.end
        if step.role == "advises":
            return "manual", advice(self.binding).reason
        if end is None:
            return "inconclusive", "the arm broke off during this step"
        if not self.arm.bitten:
            return "inconclusive", self.arm.unwitnessed
        if step.before is not None and well(step.before):
            return "untested", "already recovered"
        if step.refused:
            return "untested", f"command not allowed: {step.refused} ({self.claim.where})"
        spoilt = self._spoilt(end)
        return ("untested", spoilt) if spoilt else None

    def _effect(self) -> tuple[Status, str]:
        end = self.step.end or {}
        if cheat := self._by_other_means():
            return "inconclusive", cheat
        if end["error"]:
            return self._hindered(end["error"])
        return self._finds(end["facts"]) if self.step.role == "finds" else self._acts()

    def _piece(self, status: Status, reason: str) -> Piece:
        step = self.step
        told = [step.witness, step.before, *of_kind(step.events, "command", claim=step.claim), step.end, step.after]
        lines = [evidence(event) for event in told if event is not None] or [evidence(step.start)]
        return Piece(status, reason, (*lines, *self.arm.witnesses), self.arm)

    # ------------------------------------------------------------------------------------- what kept it from its effect

    def _spoilt(self, end: JsonObject) -> str:
        """Which earlier step took from this one the facts that it needs; "" when none did."""
        used = set(end["used"].values())
        for taken in self.earlier:
            if taken.step.claim in used and taken.piece.status == "refuted":
                return f"depends on {taken.step.claim}, which was refuted"
        nothing_found = (end["error"] or "").startswith("no earlier step found")
        return f"depends on an earlier step: {end['error']}" if nothing_found else ""

    def _by_other_means(self) -> str:
        """That the definition carried out something else than the sentence prints; "" when it did not.

        A definition that crashed before it ran anything has not run anything else.
        """
        own, commands = _own_commands(self.claim), self.step.commands
        crashed = not commands and self.step.end is not None and self.step.end["error"]
        others = [command for command in commands if command["printed"] not in own]
        if own and len(others) == len(commands) and not crashed:
            return "the sentence's own command was not run"
        if own and others and self.step.role == "acts":
            return f"more was run than the sentence's own command: {' '.join(others[0]['argv'])}"
        return ""

    def _hindered(self, error: str) -> tuple[Status, str]:
        """A definition that did not come to its end: the text's fault only where its own command was at work."""
        if error.startswith("LookupError: "):
            lacking = error.removeprefix("LookupError: ")
            failed = _failure(self.step.commands)
            if any(command["printed"] for command in self.step.commands):
                return "refuted", f"cannot run as printed: {failed}" if failed else lacking
            return "inconclusive", f"the tool that stands in for a command did not serve: {failed or lacking}"
        return "inconclusive", f"the definition of this step that {self.step.role} failed: {error}"

    # ------------------------------------------------------------------------------------------------ steps that find

    def _finds(self, facts: Mapping[str, Sequence[JsonObject]]) -> tuple[Status, str]:
        """The truth that the witness knows must be in the facts, and the innocents not, or below it."""
        witness = self.step.witness
        if witness is None or not witness["holds"]:
            return self._without_fault()
        if forged := _not_from_output(self.claim, facts, self.step.commands):
            return "inconclusive", forged
        known = {name: [str(value) for value in values] for name, values in witness["truth"].items() if values}
        judged = {name: [str(fact["value"]) for fact in facts[name]] for name in facts if name in known}
        if not judged:
            return "inconclusive", f"no witness knows the truth about what it found ({', '.join(facts) or 'nothing'})"
        for name, values in judged.items():
            innocents = {str(value) for value in witness["innocents"].get(name, ())}
            named = [value for value in values if value in innocents]
            if lacking := [value for value in known[name] if value not in values]:
                return self._missed(name, lacking, values)
            if named and not self.binding.get("lists") and not _ranked_below(values, known[name], innocents):
                return "refuted", f"it also names innocent {name} {_some(named)}"
        verb = "lists" if self.binding.get("lists") else "finds"
        return "held", self._how(f"{verb} {', '.join(judged)}")

    def _without_fault(self) -> tuple[Status, str]:
        for taken in self.earlier:
            if taken.step.role == "acts" and taken.step.after and taken.step.after["fault"] is False:
                return "untested", f"the fault had ended before, by {taken.step.claim}"
        return "inconclusive", "the fault was not in effect when this step began"

    def _missed(self, name: str, lacking: Sequence[str], values: Sequence[str]) -> tuple[Status, str]:
        if failed := _failure(self.step.commands):
            return self._failed(failed)
        instead = f"it names {_some(values)} instead" if values else "it names nothing"
        return "refuted", f"{name} {_some(lacking)} is missing; {instead}"

    # ------------------------------------------------------------------------------------------------- steps that act

    def _acts(self) -> tuple[Status, str]:
        """The state before it and after it must differ in what the sentence promises."""
        if failed := _failure(self.step.commands):
            return self._failed(failed)
        promises: Mapping[str, Json] = self.binding.get("promises") or {}
        before, after = self.step.before, self.step.after
        if not (before and after and promises):
            return "inconclusive", "no state was written down before and after it"
        broken = [name for name, wanted in promises.items() if _value(after, name) != wanted]
        if broken:
            if blame := self._left_broken(promises):
                return "untested", blame
            lacking = ", ".join(f"{name} is {_value(after, name)!r}, not {promises[name]!r}" for name in broken)
            return "refuted", self._how(f"what it promises did not come about: {lacking}")
        changed = {name: wanted for name, wanted in promises.items() if _value(before, name) != wanted}
        if not changed:
            return "untested", "what it promises was so already"
        return "held", self._how(", ".join(_became(name, value) for name, value in changed.items()))

    def _left_broken(self, promises: Mapping[str, Json]) -> str:
        """The step before it that was refuted, while the fault is still in effect. One that promised what this one does
        is no reason: this one may be the way out where that failed.
        """
        refuted = [
            taken.step.claim
            for taken in self.earlier
            if taken.piece.status == "refuted" and not taken.promises.keys() & promises.keys()
        ]
        still = self.step.before is not None and self.step.before["fault"] is True
        return f"depends on {refuted[-1]}, which was refuted" if refuted and still and "fault" not in promises else ""

    def _failed(self, failure: str) -> tuple[Status, str]:
        if any(command["printed"] for command in self.step.commands):
            return "refuted", f"cannot run as printed: {failure}"
        return "inconclusive", f"the tool that stands in for a command failed: {failure}"

    def _how(self, reason: str) -> str:
        """The reason with what a reader must know about how the command was run."""
        commands, notes = self.step.commands, list[str]()
        if commands and not any(c["printed"] for c in commands):
            notes.append(f"tool: ours ({commands[0]['argv'][0]})")
        if any(c["printed"] and not any(c["printed"] in word for word in c["argv"]) for c in commands):
            notes.append("with substitution")
        notes += sorted({f"as {c['role']}" for c in commands if c.get("role")})
        return f"{reason} [{', '.join(notes)}]" if notes else reason


def _own_commands(claim: Claim) -> Collection[str]:
    """The commands that the sentence itself prints; one with an ellipsis is an example of one."""
    return {p.text for p in claim.parts if p.kind == "command" and " " in p.text and "..." not in p.text}


def _failure(commands: Sequence[JsonObject]) -> str:
    """The last words of the first command that failed; "" when none did."""
    failed = next((command for command in commands if command["status"] != 0), None)
    if failed is None:
        return ""
    ended = "it was ended at its time limit" if failed["status"] is None else f"status {failed['status']}"
    return next(reversed((failed["stderr"] or "").strip().splitlines()), ended)


def _not_from_output(claim: Claim, facts: Mapping[str, Sequence[JsonObject]], commands: Sequence[JsonObject]) -> str:
    """Why these facts can't be trusted: not in the output they claim, or not of the sentence's own command."""
    own, by_evidence = _own_commands(claim), {evidence(command): command for command in commands}
    for name, found in facts.items():
        for fact in found:
            command = by_evidence.get(fact["evidence"])
            if command is None or not _stands_in(command, fact):
                return f"{name} {fact['value']} does not stand in the output of any command of this step"
            if own and command["printed"] not in own:
                return f"{name} {fact['value']} was not read from the sentence's own command"
    return ""


def _stands_in(command: JsonObject, fact: JsonObject) -> bool:
    """Whether reading the command's output again, in the way that the fact names, gives its value."""
    output = command["stdout"]
    way, _, what = str(fact["column"]).partition(" ")
    if way == "column":
        values = [row.get(what) for row in tables.read(command["argv"][0], output)[1]]
    elif way == "group":
        values = [match[1] for match in re.finditer(what.removeprefix("of "), output)]
    else:
        values = [line.strip() for line in output.splitlines()]
    return str(fact["value"]) in values


def _ranked_below(values: Sequence[str], truth: Sequence[str], innocents: Collection[str]) -> bool:
    first_innocent = next((i for i, value in enumerate(values) if value in innocents), len(values))
    return all(values.index(value) < first_innocent for value in truth)


def _value(state: JsonObject, name: str) -> Json:
    value: Json = state[name] if name in ("goal", "fault") else state["more"].get(name)
    return value


def _became(name: str, value: Json) -> str:
    plain = {("fault", False): "the fault has ended", ("goal", True): "the goal is reached"}
    return plain.get((name, value), f"{name} became {value!r}") if isinstance(value, bool) else f"{name} became {value}"


def _some(values: Sequence[str]) -> str:
    shown = ", ".join(dict.fromkeys(values[:5]))
    return shown + (f" and {len(values) - 5} more" if len(values) > 5 else "")
