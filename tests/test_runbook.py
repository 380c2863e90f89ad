"""Runbook text → claims: what is read, what is refused, and how claims are found by their words."""

from __future__ import annotations

import hashlib
import re
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlab.model import LabError, Runbook, Signal
from runlab.runbook import SECTIONS, labelled, load, procedure, signals

DATA = Path(__file__).parent / "data"

MINIMAL = """\
## [RB-950] Title

### 1. Symptom Detection
- It hurts.

### 2. Root Cause Analysis (RCA)
- **Reason:** It broke.

### 3. Recovery Procedures
- Mend it.

### 4. Prevention Measures
- Don't.
"""


@pytest.fixture(scope="module")
def shop() -> Runbook:
    return load(DATA / "collection.md")[0]


def read(tmp_path: Path, text: str) -> tuple[Runbook, ...]:
    file = tmp_path / "book.md"
    file.write_text(text, encoding="utf-8")
    return load(file)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(LabError) as refusal:
        read(tmp_path, text)
    message = str(refusal.value)
    assert "\n" not in message
    assert refusal.value.mend
    return message


# ------------------------------------------------------------------------------------------------------- what is read


def test_only_leaf_bullets_of_the_four_sections_are_claims(shop: Runbook) -> None:
    assert [(claim.id.removeprefix("RB-901/"), claim.line) for claim in shop.claims] == [
        ("detect/alerts/1", 16),
        ("detect/alerts/2", 17),
        ("detect/logs/1", 19),
        ("cause/poison-job", 22),
        ("cause/slow-disk", 23),
        ("recover/at-once/1", 27),
        ("recover/look-around/1", 29),
        ("recover/look-around/2", 31),
        ("recover/plan-a/1", 36),
        ("recover/plan-a/2", 37),
        ("recover/plan-b/1", 46),
        ("recover/plan-b/2", 47),
        ("prevent/1", 55),
        ("prevent/bounds", 56),
    ]
    assert (shop.id, shop.title, shop.line) == ("RB-901", "Queue stands still", 8)


def test_wording_keeps_words_and_code_and_drops_the_markup(shop: Runbook) -> None:
    texts = {claim.line: claim.text for claim in shop.claims}
    assert texts[22] == "Poison Job: One job of two that `never` ends."
    assert texts[23] == "Slow Disk: it is full at 80%."
    assert texts[29] == "Count jobs: `SELECT count(*) FROM jobs;`"
    assert texts[31] == "Ask <someone> who knows better."
    assert texts[36] == "Find the job: `` SHOW CREATE TABLE `jobs` ``"
    assert texts[37] == "Remove it. `DELETE FROM jobs WHERE id = 1; - not a bullet`"
    assert texts[47] == "Restart with: `queuectl stop` `queuectl start`"


def test_labels_are_bold_opening_words_before_a_colon(shop: Runbook) -> None:
    labels = {claim.line: claim.label for claim in shop.claims}
    assert labels[22] == "Poison Job"
    assert labels[23] == "Slow Disk"
    assert labels[46] == ""
    assert {claim.line: claim.under for claim in shop.claims}[46] == ("Later", "Plan B: Restart")


def test_parts_are_classified_by_where_they_stand(shop: Runbook) -> None:
    parts = {claim.line: [(part.text, part.kind) for part in claim.parts] for claim in shop.claims}
    assert parts[16] == [("QueueStalled", "alert"), ("> 95%", "threshold")]
    assert parts[17] == [("503 Service Unavailable", "status"), ("queuectl", "name")]
    assert parts[19] == [
        ("consumer gave up", "signature"),
        ("tail", "name"),
        ("/var/log/queue.log", "name"),
        ("12 %", "threshold"),
    ]
    assert parts[23] == []
    assert parts[36] == [("SHOW CREATE TABLE `jobs`", "command")]
    assert parts[47] == [("queuectl stop", "command"), ("queuectl start", "command")]
    assert parts[55] == [("70%", "threshold"), ("90%", "threshold")]
    assert parts[56] == [("max_age", "name"), ("queuectl limit 5", "command")]


def test_sections_may_come_in_any_order_and_headings_inside_are_labels() -> None:
    second = load(DATA / "collection.md")[1]
    assert [claim.kind for claim in second.claims] == ["detect", "cause", "prevent", "recover", "recover"]
    assert [claim.under for claim in second.of_kind("recover")] == [("By hand",), ("By tool",)]
    assert [claim.id for claim in procedure(second, "By tool")] == ["RB-902/recover/by-tool/1"]


def test_a_folder_is_read_file_by_file_without_its_readme() -> None:
    (runbook,) = load(DATA / "team")
    assert (runbook.id, runbook.line, len(runbook.claims)) == ("RB-903", 1, 4)
    assert runbook.sha256 == hashlib.sha256((DATA / "team" / "RB-903-clock.md").read_bytes()).hexdigest()


def test_files_are_named_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "book.md").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load(inner / "book.md")[0].claims[0].where == "inner/book.md:4"
    monkeypatch.chdir(inner)
    assert load(Path("../inner"))[0].file == "../inner/book.md"


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t])
def test_line_ends_and_byte_order_mark_change_nothing(tmp_path: Path, change: object) -> None:
    plain = read(tmp_path, MINIMAL)[0].claims
    (tmp_path / "book.md").write_bytes(change(MINIMAL).encode())  # type: ignore[operator]
    assert load(tmp_path / "book.md")[0].claims == plain


def test_a_link_reference_does_not_hide_a_heading(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL + "\n[RB-950]: #anchor\n")[0].id == "RB-950"


@pytest.mark.parametrize(
    ("bullet", "text"),
    [
        ("> - Quoted.", "Quoted."),
        (r"- Press \` twice, run `ls`.", "Press ' twice, run `ls`."),
        ("- See <!-- not for people --> it.", "See it."),
        ("- [A page](https://example.org/) tells &gt; 1 more.", "A page tells > 1 more."),
        ("- Two\n\n  paragraphs.", "Two paragraphs."),
        ("- Don't **ever *do* ` it `**", "Don't ever do `it`"),
    ],
)
def test_markup_of_a_bullet_is_gone_and_its_words_stay(tmp_path: Path, bullet: str, text: str) -> None:
    claims = read(tmp_path, MINIMAL.replace("- Mend it.", bullet))[0].of_kind("recover")
    assert [claim.text for claim in claims] == [text]


@pytest.mark.parametrize(
    ("text", "thresholds"),
    [
        ("above > 5, then", ["> 5"]),
        ("≥ 2.5 s or >=10ms", ["≥ 2.5 s", ">=10ms"]),
        ("up 12.5% in 5 minutes of 8.8.8.8", ["12.5%"]),
        ("a -> 5 and a => 6", []),
        ("`> 5 %`", []),
    ],
)
def test_thresholds_are_comparisons_and_percentages(tmp_path: Path, text: str, thresholds: list[str]) -> None:
    (claim,) = read(tmp_path, MINIMAL.replace("It hurts.", text))[0].of_kind("detect")
    assert [part.text for part in claim.parts if part.kind == "threshold"] == thresholds


def test_what_follows_the_runbook_is_not_read(tmp_path: Path) -> None:
    after = "\n## Afterword\n### Recovery Procedures\n- no claim\n"
    assert len(read(tmp_path, MINIMAL + after)[0].claims) == 4


def test_deeply_nested_bullets_are_not_lost(tmp_path: Path) -> None:
    nest = "".join("  " * depth + f"- level {depth}\n" for depth in range(30))
    claims = read(tmp_path, MINIMAL.replace("- Mend it.\n", nest))[0].of_kind("recover")
    assert [claim.text for claim in claims] == ["level 29"]
    assert len(claims[0].under) == 29


def test_ids_of_like_lists_are_told_apart(tmp_path: Path) -> None:
    lists = "- **One:**\n  - **Check:**\n    - this\n- **Two:**\n  - **Check:**\n    - that\n"
    claims = read(tmp_path, MINIMAL.replace("- Mend it.\n", lists))[0].of_kind("recover")
    assert [claim.id for claim in claims] == ["RB-950/recover/check/1", "RB-950/recover/check/1-2"]


# ----------------------------------------------------------------------------------------------------- what is found


def test_a_procedure_may_be_a_single_step(shop: Runbook) -> None:
    assert [claim.line for claim in procedure(shop, "Pause Intake")] == [27]


@pytest.mark.parametrize(
    ("asked", "nearest"), [("Plan C", "Plan B"), ("plan a", "Plan A"), ("", "is"), ("At onse", "At once")]
)
def test_an_unknown_procedure_names_the_nearest(shop: Runbook, asked: str, nearest: str) -> None:
    with pytest.raises(LabError, match=rf"collection\.md:8: RB-901 has no procedure {asked}.*{nearest}"):
        procedure(shop, asked)


def test_an_unknown_cause_names_the_nearest_and_its_line(shop: Runbook) -> None:
    with pytest.raises(LabError, match=r"no cause Poisoned Job; the nearest is Poison Job \(.*collection\.md:22\)"):
        labelled(shop, "cause", "Poisoned Job")
    with pytest.raises(LabError, match="no prevention Poison Job"):
        labelled(shop, "prevent", "Poison Job")


def test_a_label_that_names_two_lists_is_refused_and_the_whole_label_is_not(tmp_path: Path) -> None:
    lists = "- **Plan A: slow**\n  - wait\n- **Plan A: fast**\n  - hurry\n"
    runbook = read(tmp_path, MINIMAL.replace("- Mend it.\n", lists))[0]
    with pytest.raises(LabError, match=r"Plan A: slow \(.*:11\), Plan A: fast \(.*:13\)"):
        procedure(runbook, "Plan A")
    assert [claim.text for claim in procedure(runbook, "Plan A: fast")] == ["hurry"]
    runbook = read(tmp_path, MINIMAL.replace("- Mend it.\n", lists + "- **Plan A**\n  - think\n"))[0]
    assert [claim.text for claim in procedure(runbook, "Plan A")] == ["think"]


def test_signals_leave_out_what_is_declared_no_signal(shop: Runbook) -> None:
    alert = Signal("RB-901", "RB-901/detect/alerts/1", "QueueStalled", "alert")
    assert signals(shop, {}) == (alert, Signal("RB-901", "RB-901/detect/logs/1", "consumer gave up", "signature"))
    assert signals(shop, {"consumer gave up": "only in a debug build", "tail": "a tool"}) == (alert,)


def test_a_misspelt_non_signal_is_refused(shop: Runbook) -> None:
    with pytest.raises(LabError, match="no span `consumer gives up` among its symptoms; the nearest is consumer gave"):
        signals(shop, {"consumer gives up": "reason"})


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("title", SECTIONS.values())
def test_a_missing_section_is_named(tmp_path: Path, title: str) -> None:
    message = refused(tmp_path, MINIMAL.replace(title, title.replace("e", "x", 1)))
    assert f"book.md:1: RB-950 has no section {title}; the nearest is" in message
    assert f". {title}`" in message


@pytest.mark.parametrize(
    "heading",
    [
        "[RB-95] T",
        "[RB950] T",
        "RB-950 T",
        "[rb-950] T",
        "[RB-950]",
        "[RB-950]T",
        "[RB_950] T",
        "[RB-abc] T",
        "[DB-950] T",
    ],
)
def test_a_malformed_heading_is_refused_with_its_line(tmp_path: Path, heading: str) -> None:
    assert "book.md:3: malformed runbook heading: " in refused(
        tmp_path, MINIMAL.replace("## [RB-950] Title", f"intro\n\n## {heading}")
    )


def test_a_section_without_claims_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "book.md:9: RB-950 claims nothing under 3. Recovery" in refused(tmp_path, MINIMAL.replace("- Mend", "Mend"))


def test_what_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    assert "book.md:15: RB-950 stands twice, first in " in refused(tmp_path, MINIMAL + "\n" + MINIMAL)
    twice = MINIMAL + "\n### Recovery Procedures\n- Again.\n"
    assert "book.md:15: RB-950 has the section Recovery Procedures twice, first in line 9" in refused(tmp_path, twice)
    labels = MINIMAL.replace("- Mend it.", "- **Plan:**\n  - a\n- **Plan:**\n  - b")
    assert "book.md:12: the label Plan stands twice, first in line 10" in refused(tmp_path, labels)
    causes = MINIMAL.replace("It broke.", "It broke.\n- **Reason:** It fell.")
    assert "book.md:8: the label Reason stands twice, first in line 7" in refused(tmp_path, causes)


def test_an_id_may_stand_once_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(MINIMAL)
    with pytest.raises(LabError, match=r"b\.md:1: RB-950 stands twice, first in .*a\.md:1"):
        load(tmp_path)


def test_a_bullet_without_words_is_refused(tmp_path: Path) -> None:
    assert "book.md:10: a bullet without words" in refused(tmp_path, MINIMAL.replace("- Mend it.", "-\n- Mend it."))


@pytest.mark.parametrize("text", ["", "\n\n", "# Notes\n- a bullet\n"])
def test_a_file_without_a_runbook_is_refused(tmp_path: Path, text: str) -> None:
    assert "book.md:1: no runbook in this file" in refused(tmp_path, text)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"none\.md: cannot be read \(No such file"):
        load(tmp_path / "none.md")
    with pytest.raises(LabError, match="no runbook in this folder"):
        load(tmp_path)
    (tmp_path / "latin.md").write_bytes(b"# [RB-950] T\n\ncaf\xe9\n")
    with pytest.raises(LabError, match=r"latin\.md:3: not UTF-8"):
        load(tmp_path)


# --------------------------------------------------------------------------------------------------------- properties

WORD = st.text(alphabet=string.ascii_letters, min_size=2, max_size=6)
SPAN = st.sampled_from(["ls", "a  b", "SELECT * FROM t", "x_y_z", "<pid>", "- **no**", "f(x);", "> 90%", "[RB-1]"])
PIECE = st.one_of(
    WORD.map(lambda word: (word, word)),
    st.tuples(st.sampled_from(["*", "**", "_", "__"]), WORD).map(lambda m: (m[1], f"{m[0]}{m[1]}{m[0]}")),
    SPAN.map(lambda span: (f"`{span}`", f"`{span}`")),
)
"""(as read, as written)"""
SPACE = st.sampled_from([" ", "  ", "\n    ", "   \n    ", "\t"])


@st.composite
def bullets(draw: st.DrawFn) -> tuple[str, str]:
    """A bullet as read and as written: emphasis, code and line breaks anywhere but at its start."""
    first, pieces = draw(WORD), draw(st.lists(st.tuples(SPACE, PIECE), max_size=5))
    read_as = " ".join([first, *(piece[0] for _, piece in pieces)])
    return read_as, first + "".join(space + piece[1] for space, piece in pieces)


@st.composite
def books(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """A file of runbooks, and the wordings of the bullets of each."""
    depth, count = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    text, wordings = "", []
    for number in range(count):
        text += f"{'#' * depth} [RB-{number:03}] Some title\n\nprose\n\n"
        wordings.append([])
        for title in SECTIONS.values():
            text += f"{'#' * (depth + 1)} {title}\n\n"
            for label in draw(st.lists(WORD, min_size=1, max_size=3, unique=True)):
                items = draw(st.lists(bullets(), min_size=1, max_size=4))
                marker, gap = draw(st.sampled_from(["- ", "* ", "1. "])), draw(st.sampled_from(["\n", "\n\n"]))
                text += f"**{label}:**\n\n" + "".join(f"{marker}{written}{gap}" for _, written in items) + "\n"
                text += draw(st.sampled_from(["", "```\n- fenced\n```\n\n", "<!--\n- hidden\n-->\n\n"]))
                wordings[-1] += [read_as for read_as, _ in items]
    return text, wordings


@settings(max_examples=50)
@given(books())
def test_every_bullet_is_one_claim_with_its_wording_and_line(book: tuple[str, list[list[str]]]) -> None:
    text, wordings = book
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: text.encode())
        runbooks = load(Path("book.md"))
    assert [[claim.text for claim in runbook.claims] for runbook in runbooks] == wordings
    lines = text.split("\n")
    for claim in (claim for runbook in runbooks for claim in runbook.claims):
        assert re.match(rf"(-|\*|1\.) {claim.text.split(' ')[0]}\b", lines[claim.line - 1])
        assert len(claim.under) == 1
        assert [part.text for part in claim.parts] == re.findall(r"`([^`]+)`", claim.text)
    ids = [claim.id for runbook in runbooks for claim in runbook.claims]
    assert len(ids) == len(set(ids))


@given(st.text(max_size=300) | st.text(alphabet="#[]RB-01 \n*`:>.", max_size=300))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: MINIMAL.replace("Mend it.", text).encode(errors="replace"))
        try:
            said = str(load(Path("book.md"))[0].claims[-1].text)
        except LabError as refusal:
            said = str(refusal)
        assert "\n" not in said
