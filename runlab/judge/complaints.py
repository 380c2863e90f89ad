"""What one arm alone already refutes or leaves undecided, in words for the person whose test fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runlab.judge import detect, step
from runlab.judge.expected import expected
from runlab.judge.history import ArmHistory, signal_names
from runlab.model import Claim, JsonObject


def complaints(
    events: Sequence[JsonObject],
    claims: Sequence[Claim],
    bindings: Mapping[str, JsonObject],
    not_signals: Mapping[str, str],
) -> list[str]:
    """One text for each sentence of `claims` that this arm refuted or could not decide; none when all is well.

    Each names the sentence, its file and line, what was expected and what was seen.
    """
    arm, by_id = ArmHistory(events), {claim.id: claim for claim in claims}
    undecided = [
        _text(claim, None, "inconclusive", f"{name} was silent, but blind: {blind}")
        for claim, name, blind in _blind(arm, claims, bindings, not_signals)
    ]
    return undecided + [
        _text(by_id[taken.step.claim], taken.step.role, taken.piece.status, taken.piece.reason)
        for taken in step.in_order(arm, by_id, bindings)
        if taken.piece.status in ("refuted", "inconclusive")
    ]


def _blind(
    arm: ArmHistory,
    claims: Sequence[Claim],
    bindings: Mapping[str, JsonObject],
    not_signals: Mapping[str, str],
) -> Iterator[tuple[Claim, str, str]]:
    """The signals whose silence without the fault does not count, and why."""
    if arm.name != "quiet":
        return
    for claim in claims:
        for name in signal_names(claim, bindings, not_signals) if claim.kind == "detect" else ():
            key = (claim.id, name)
            if key not in arm.early and (blind := detect.blindness(arm, key)):
                yield claim, name, blind


def _text(claim: Claim, role: str | None, status: str, seen: str) -> str:
    wanted = expected(claim.kind, role)
    return f"{status}: {claim.where} [{claim.id}]\n  says:     {claim.text}\n  expected: {wanted}\n  seen:     {seen}"
