"""The team's own edition of the runbooks against the collection as received: the same claims in other words."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from runlab import wording
from runlab.model import Claim, Runbook
from runlab.runbook import load

ROOT = Path(__file__).parent.parent
RECEIVED = ROOT.parent / "shared" / "runbooks-as-received.md"
MENDED = ("RB-001", "RB-002")
"""Mended where they were refuted, so that their claims and commands are their own."""

Pairs = dict[str, tuple[Runbook, Runbook]]


@pytest.fixture(scope="module")
def editions() -> Pairs:
    """By id: the runbook as received, and the team's own."""
    if not RECEIVED.exists():
        pytest.skip("the collection as received is not beside this repository (../shared/runbooks-as-received.md)")
    own = {runbook.id: runbook for runbook in load(ROOT / "runbooks")}
    received = {runbook.id: runbook for runbook in load(RECEIVED)}
    assert own.keys() == received.keys()
    return {name: (received[name], own[name]) for name in received}


def differences(received: Runbook, own: Runbook) -> list[str]:
    """What the team's own edition says otherwise than in other words; nothing when it is the same runbook."""
    return [
        *_of_claims(received, own),
        *(f"not in other words: {claim.where}: {claim.text}" for claim in _copied(received, own)),
    ]


def _of_claims(received: Runbook, own: Runbook) -> list[str]:
    if len(received.claims) != len(own.claims):
        return [f"{len(own.claims)} claims in place of {len(received.claims)}"]
    return [
        f"{mine.where}: {what} {_outline(mine)[what]} in place of {expected}"
        for theirs, mine in zip(received.claims, own.claims, strict=True)
        for what, expected in _outline(theirs).items()
        if _outline(mine)[what] != expected
    ]


def _outline(claim: Claim) -> dict[str, object]:
    """What must be the same whatever the words: place, label, and each marked part with what it is taken for."""
    return {
        "kind": claim.kind,
        "label": claim.label,
        "list": claim.under,
        "parts": Counter((part.kind, part.text) for part in claim.parts),
        "numbers": Counter(re.findall(r"\d[\d.]*\d|\d", re.sub(wording.CODE, "", claim.text))),
    }


def _copied(received: Runbook, own: Runbook) -> list[Claim]:
    theirs = {sentence for claim in received.claims for sentence in _sentences(claim)}
    return [claim for claim in own.claims if theirs & set(_sentences(claim))]


def _sentences(claim: Claim) -> list[str]:
    """The claim's sentences in small letters, without its label, its code spans and all marks."""
    text = re.sub(wording.CODE, "`", claim.text).removeprefix(f"{claim.label}:")
    words = [" ".join(re.findall(r"\w+", sentence.lower())) for sentence in re.split(r"[.;:](?:\s|$)", text)]
    return [sentence for sentence in words if " " in sentence]


def test_the_others_say_the_same_in_other_words(editions: Pairs) -> None:
    assert {name: differences(*pair) for name, pair in editions.items() if name not in MENDED} == {
        f"RB-00{number}": [] for number in range(3, 9)
    }


@pytest.mark.parametrize("name", MENDED)
def test_no_runbook_of_the_collection_is_copied(editions: Pairs, name: str) -> None:
    received, own = editions[name]
    assert [claim.text for claim in _copied(received, own)] == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("`ContainerOOMKilled`", "`ContainerWasKilled`", "parts"),
        ("an upload of 5GB", "an upload of 6GB", "numbers"),
        ("**Scale Up:**", "**Give more:**", "label"),
        ("**Immediate Actions:**", "**At once:**", "list"),
        (
            "2.  **Identify Leaks:** See in the heap dump which kinds of objects become ever more.\n",
            "",
            "19 claims in place of 20",
        ),
        (
            "A process starts again although nobody asked for it.",
            "Process restarts  unexpectedly.",
            "not in other words",
        ),
    ],
)
def test_a_difference_is_seen(editions: Pairs, tmp_path: Path, old: str, new: str, what: str) -> None:
    received, own = editions["RB-003"]
    text = Path(own.file if Path(own.file).is_absolute() else ROOT / own.file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "RB-003.md").write_text(text.replace(old, new), encoding="utf-8")
    (changed,) = load(tmp_path)
    assert any(what in difference for difference in differences(received, changed))
