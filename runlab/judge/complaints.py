"""What one arm alone already refutes or leaves undecided, in words for the person whose test fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runlab.judge import detect, recover
from runlab.judge.history import ArmHistory, signal_names
from runlab.model import Claim, JsonObject


def complaints(
    events: Sequence[JsonObject],
    claims: Sequence[Claim],
    bindings: Mapping[str, JsonObject],
    not_signals: Mapping[str, str],
) -> list[str]:
    """One text for each sentence of `claims` that this arm refuted or could not decide; none when all is well.

    Each names the sentence, its file and line, and what was seen.
    """
    arm = ArmHistory(events)
    lines = []
    for claim in claims:
        if arm.name == "quiet" and claim.kind == "detect":
            for name in signal_names(claim, bindings, not_signals):
                blind = "" if (claim.id, name) in arm.seen else detect.blindness(arm, (claim.id, name))
                if blind:
                    lines.append(_text(claim, "inconclusive", f"{name} was silent, but blind: {blind}"))
        if claim.kind == "recover":
            piece = recover.step_in_arm(arm, claim, bindings.get(claim.id, {}))
            if piece is not None and piece.status in ("refuted", "inconclusive"):
                lines.append(_text(claim, piece.status, piece.reason))
    return lines


def _text(claim: Claim, status: str, seen: str) -> str:
    return f"{status}: {claim.where} [{claim.id}]\n  says: {claim.text}\n  seen: {seen}"
