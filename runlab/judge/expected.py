"""In words, what would confirm a claim; the rules themselves are in detect.py, step.py, recover.py and prevent.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXPECTED: Final[Mapping[str, str]] = {
    "detect": "seen by a named component in every case of a cause, and silent without the fault",
    "cause": "this fault alone, witnessed, raises at least one signal of the runbook",
    "finds": "the command's output names what the fault's witness knows, and no innocents",
    "acts": "runs as printed and changes what the sentence promises, in a procedure that recovers",
    "recover": "its steps in order bring the system back, and it stays broken without them",
    "prevent": "with the measure the same fault does measurably less harm than without it",
}
"""By the claim's role where it has one of these, else by its kind."""


def expected(kind: str, role: str | None) -> str:
    """What a claim of this role, or else of this kind, must show to be confirmed."""
    return EXPECTED.get(role or "") or EXPECTED[kind]
