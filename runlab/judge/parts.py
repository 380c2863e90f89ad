"""Which parts of a sentence were really tried: its names, commands and thresholds, each with a verdict of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from runlab.judge.history import History, Step
from runlab.judge.pieces import Piece, combine
from runlab.judge.step import Taken
from runlab.model import Claim, Part

Parts = dict[Part, Piece]


def of_signals(claim: Claim, by_name: Mapping[str, Piece], not_signals: Mapping[str, str]) -> Parts:
    """Alerts and signatures as they were seen; what is no signal says why."""
    why = {
        part: not_signals.get(part.text, "no signal by itself; the sentence is judged as a whole")
        for part in claim.parts
    }
    return {part: by_name.get(part.text) or _not_tried(part, why[part]) for part in claim.parts}


def of_step(claim: Claim, taken: Sequence[Taken], whole: Piece) -> Parts:
    """A part has what those arms say in which a command of the step used it: an alternative nobody took has nothing."""
    parts = {}
    for part in claim.parts:
        used = [one.piece for one in taken if part.kind != "threshold" and _uses(one.step, part.text)]
        parts[part] = combine(used) if used else _as_whole(part, whole, "no command that ran for this sentence uses it")
    return parts


def of_measure(history: History, claim: Claim, whole: Piece) -> Parts:
    """A part was tried where the measure sets it."""
    scenarios = [scenario for scenario in history.scenarios if scenario["measure_claim"] == claim.id]
    on = [arm.start["settings"] for scenario in scenarios for arm in history.arms_of(scenario, "on")]
    used = {str(word) for settings in on for pair in settings.items() for word in pair}
    unused = "the measure that was tried does not set it"
    return {part: whole if part.text in used else _as_whole(part, whole, unused) for part in claim.parts}


def of_cause(claim: Claim, whole: Piece) -> Parts:
    """What a cause mentions is not tried by itself."""
    return {part: _as_whole(part, whole, "the sentence is judged as a whole") for part in claim.parts}


def not_tried(claim: Claim, parts: Parts) -> str:
    """What stands in a sentence that held, and has not been tried all the same; "" when there is nothing.

    Names that a symptom or a cause mentions are no alternatives to anything.
    """
    counts = {"detect": ("alert", "signature", "threshold"), "cause": ()}.get(claim.kind)
    left = [part for part, piece in parts.items() if piece.status == "untested"]
    names = [f"`{part.text}`" for part in left if counts is None or part.kind in counts]
    return f"not tried: {', '.join(names)}" if names else ""


def _as_whole(part: Part, whole: Piece, unused: str) -> Piece:
    return whole if whole.status in ("untested", "manual") else _not_tried(part, unused)


def _not_tried(part: Part, why: str) -> Piece:
    return Piece("untested", "not tried just below and just above it" if part.kind == "threshold" else why)


def _uses(step: Step, text: str) -> bool:
    word = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
    return any(command["printed"] == text or word.search(" ".join(command["argv"])) for command in step.commands)
