"""Runs whose fault arm takes given steps, and what is judged of them."""

from __future__ import annotations

from runlab.model import Claim
from tests.journals import (
    KILL,
    LIST,
    LOOK,
    RETRY,
    Taken,
    Tape,
    reason,
    verdict,
)

ACTS_AND_FINDS = (LIST, LOOK, KILL, RETRY)

TWO = (("Lock", "slow"), ("Lock", "sudden"))


def followed(*steps: Taken, recovers_in: float | None = None) -> Tape:
    """A run whose fault arm takes these steps."""
    return Tape().begins().quiet().fault(steps=steps, recovers_in=recovers_in).withheld().ends()


def says(tape: Tape, claim: Claim) -> tuple[str, str]:
    results = tape.results()
    return verdict(results, claim), reason(results, claim)


def procedure(tape: Tape) -> tuple[str, str]:
    (found,) = tape.results()["procedures"]
    return found["verdict"], found["reason"]
