"""What a run shows and leaves: the same example run through every report, and text that tries to break out of them."""

from __future__ import annotations

import copy
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from runlab import journal
from runlab.model import LabError
from runlab.reporting import digest, terminal
from runlab.reporting.evidence import PER_CLAIM, PER_EVENT, Evidence
from runlab.reporting.junit import junit
from runlab.reporting.page import page
from runlab.reporting.schema import whole
from runlab.reporting.summary import summary
from runlab.reporting.timeline import timeline
from runlab.reporting.write import point_latest, write_all

DATA = Path(__file__).parent / "data"
EVIL = "<script>alert('x')</script> [red]\x1b[31m | `a` \x00 [x](javascript:y)"


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return journal.read(DATA / "journal-example")


def shown(*blocks: RenderableType, width: int = 80, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="truecolor" if terminal else "auto"
    )
    for block in blocks:
        console.print(block)
    return console.file.getvalue()  # type: ignore[attr-defined]


def claim(results: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in results["claims"] if c["id"] == name)


# -------------------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [80, 100, 140])
def test_closing_tables_fit_and_say_each_verdict(results, width):
    text = shown(*terminal.closing_tables(results, report="reports/latest/index.html"), width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    for verdict, symbol in digest.SYMBOLS.items():
        assert f"{symbol} {verdict}" in text
    assert text.startswith("executed 12 of 27 claims; 8 no scenario yet; 4 need packet-filter")
    assert "RB-002 … RB-005: 11 claims untested" in text
    assert text.rstrip().endswith("report: reports/latest/index.html")
    assert re.search(r"1 of 5 failed +TestLock.* +4\.2 s +2\.5 s +55\.5 s +49\.5 s +1\.1× *\n", text)
    assert re.search(r"✘ failed +fault.* +4\.2 s +– +24\.8 s +23\.9 s +1\.0× *\n", text)


def test_colour_only_on_a_terminal(results):
    assert "\x1b[" in shown(*terminal.closing_tables(results), terminal=True)


def test_a_runbook_can_not_steer_the_terminal(results):
    c = claim(results, "RB-001/detect/alerts/1")
    c["text"] = c["reason"] = "[bold]x[/] \x1b]0;title\x07\x9b2J"
    text = shown(*terminal.closing_tables(results))
    assert "[bold]x[/]" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_sums_agree_whether_advice_counts_as_executed_or_not(results):
    assert digest.executed_sentence(whole(results)).endswith("2 advice to people")
    results["run"]["executed"] += 2
    assert "advice" not in digest.executed_sentence(whole(results))


def test_what_is_missing_is_said_with_its_reason_and_its_mend(results):
    results["environment"]["missing"] = {"packet-filter": "service wall: nft is not installed; run `make setup`"}
    told = "1 scenario lacks packet-filter: service wall: nft is not installed; run `make setup`"
    assert digest.missing(whole(results)) == [told]
    text = shown(*terminal.closing_tables(results), width=120)
    assert text.index(told) < text.index("RB-001")
    assert told.replace("`", "\\`") in summary(whole(results))
    assert "lacks packet-filter: service wall" in page(whole(results), [])


def test_untested_claims_are_counted_by_reason_not_by_detail(results):
    untested = [c for c in results["claims"] if c["verdict"] == "untested"]
    for c, reason in zip(untested, ["`a b`: causes not injected: X; `c`: no", "causes not injected: Y"], strict=False):
        c["reason"] = reason
    assert "2 causes not injected" in digest.executed_sentence(whole(results))
    for c, case in zip(untested, "ab", strict=False):
        c["reason"] = f"depends on A/1, which was refuted ({case} with B); depends on an earlier step"
    assert "2 depend on A/1, which was refuted; " in digest.executed_sentence(whole(results)) + "; "


def test_before_tests_says_what_will_run_and_what_can_not(events):
    by_kind = {event["kind"]: event for event in events}
    plan = copy.deepcopy(by_kind["plan"])
    timeout, bounded = plan["scenarios"]
    timeout["lacking"] = {timeout["incidents"][0]: ["mariadb"]}
    bounded["lacking"] = {bounded["incidents"][0]: ["mariadb", "packet-filter"]}
    missing = {"mariadb": "mariadbd is not installed; run `make setup`"}
    text = re.sub(" +\n", "\n", shown(terminal.before_tests(plan, by_kind["claims"], "sandbox", missing), width=100))
    assert text.startswith("7 tests of 2 scenarios")
    assert "lacks mariadb: mariadbd is not installed; run `make setup`\n" in text
    assert "not executed: TestLockTimeout (1 of 4 incidents), TestLockTimeoutIsBounded\n" in text
    assert "lacks packet-filter: no service of this stack has it\n    not executed: TestLockTimeoutIsBounded\n" in text
    assert "RB-002 … RB-005: 11 claims without a scenario yet, of 27 in all" in text


def test_before_tests_names_only_scenarios_that_were_selected(events):
    by_kind = {event["kind"]: event for event in events}
    plan = by_kind["plan"] | {"arms": ["TestLockTimeoutIsBounded/off"]}
    text = shown(terminal.before_tests(plan, by_kind["claims"], "sandbox", {}), width=100)
    assert re.sub(" +\n", "\n", text).startswith(
        "1 test of 1 scenario:\n  runtime: sandbox\n  RB-001  TestLockTimeoutIsBounded: Timeout Configuration\n"
    )
    assert "TestLockTimeout:" not in text


def test_procedures_stand_under_their_own_name_and_reasons_where_they_are_needed(results):
    text = shown(*terminal.closing_tables(results), width=100)
    assert text.count("Immediate Actions + Scenario C") == 1
    assert "→ recovered in 2.5 s; the withheld arm has not run" in text
    assert text.count("→ recovered in 2.5 s") == 1


def test_what_holds_in_part_shows_each_condition_by_itself(results):
    c = claim(results, "RB-001/detect/logs/1")
    c["reason"] = "holds for timed out; fails for waiting: never appeared"
    text = shown(*terminal.closing_tables(results), width=100)
    assert "→ holds for timed out  " in text
    assert "→ fails for waiting: never appeared  " in text
    c["reason"] = "; ".join(f"fails for case {n}" for n in range(20))
    text = shown(*terminal.closing_tables(results), width=100)
    assert text.count("→ fails for case") == terminal.CLAUSES - 1


# ----------------------------------------------------------------------------------------------------------- files


def test_write_all_leaves_four_whole_files_and_latest(results, events, tmp_path):
    folder = tmp_path / "reports" / "run-1"
    write_all(results, events, folder)
    write_all(results, events, folder)
    assert sorted(p.name for p in folder.iterdir()) == ["index.html", "junit.xml", "results.json", "summary.md"]
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == results
    point_latest(folder)
    point_latest(folder)
    link = folder.parent / "latest"
    assert str(link.readlink()) == "run-1"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["latest", "run-1"]


def test_a_folder_that_can_not_be_written_is_one_line(results, events, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"file/run: can't be written") as caught:
        write_all(results, events, tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)


def test_latest_that_is_a_folder_is_one_line(tmp_path):
    (tmp_path / "latest" / "x").mkdir(parents=True)
    with pytest.raises(LabError, match="latest: can't be written"):
        point_latest(tmp_path / "run-1")
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


def test_a_run_cut_off_still_gives_every_report(results, events, tmp_path):
    """The judge leaves out what never came; so does a journal that ends in an arm."""
    run = results["run"]
    results["run"] = {"id": run["id"], "started": None, "ended": None, "command": None, "seed": None}
    results["run"] |= {"complete": False, "executed": 0, "total": 27}
    results["scenarios"][1] |= {"ended": None, "wall_s": None, "floor_s": None, "outcome": "error", "message": None}
    results["claims"][0]["by_scenario"][0] |= {"scenario": None, "arm": None}
    cut = [event for event in events if event["t"] < 5230]
    write_all(results, cut, tmp_path)
    assert "The run was cut off" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "cut off" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "12 of" not in shown(*terminal.closing_tables(results))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "Something that was tried did not hold"),
        ({"complete": False}, "The run was cut off"),
        ({"executed": 0}, "Nothing was executed"),
    ],
)
def test_headline(results, change, sentence):
    results["run"] |= change
    assert digest.headline(whole(results))[1].startswith(sentence)


def test_headline_is_green_only_when_nothing_failed(results):
    for judged in (*results["claims"], *results["procedures"]):
        judged["verdict"] = "confirmed"
    assert digest.headline(whole(results))[0] == "refuted"  # an arm failed
    for scenario in results["scenarios"]:
        scenario["outcome"] = "passed"
    assert digest.headline(whole(results))[0] == "inconclusive"  # and yet its exit status was 1
    results["run"]["exit_status"] = 0
    results["claims"][1]["verdict"] = "partly"
    assert digest.headline(whole(results))[0] == "partly"
    results["claims"][1]["verdict"] = "observed"
    assert digest.headline(whole(results))[0] == "confirmed"
    results["claims"][0]["verdict"] = "inconclusive"
    assert digest.headline(whole(results))[0] == "inconclusive"


# ----------------------------------------------------------------------------------------------------------- junit


def test_junit_has_a_case_per_test_and_per_claim(results):
    root = ET.fromstring(junit(whole(results)))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert len(list(root.iter("testcase"))) == len(results["scenarios"]) + len(results["claims"])
    by_id = {name.split()[0]: case for name, case in cases.items()}
    results_of = {
        name: [child.tag for child in by_id[f"RB-001/{name}"]]
        for name in (
            "recover/scenario-c/4",
            "cause/version-skew",
            "detect/impact/2",
            "recover/scenario-a/1",
            "detect/logs/1",
            "detect/alerts/1",
            "detect/alerts/2",
        )
    }
    assert list(results_of.values()) == [["failure"], ["failure"], ["skipped"], ["skipped"], ["system-out"], [], []]
    failure = by_id["RB-001/recover/scenario-c/4"].find("failure")
    assert "runbooks/RB-001-database-migration.md:47" in failure.get("message")
    assert by_id["RB-001/recover/scenario-c/4"].get("classname") == "RB-001.recover"
    failed = [case for case in root.iter("testcase") if case.get("classname") == "RB-001.TestLockTimeout"][2]
    assert failed.get("time") == "24.8"
    assert failed.find("failure").get("message").startswith("not recovered within 20 s")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_no_text_breaks_junit_or_adds_to_the_summary(text):
    results = json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))
    rows = summary(whole(results)).count("\n")
    for c in results["claims"]:
        c["text"] = c["reason"] = c["label"] = text
    results["scenarios"][2]["message"] = text
    ET.fromstring(junit(whole(results)))
    written = summary(whole(results))
    assert written.count("\n") == rows
    assert "<" not in written


def test_summary_escapes_what_a_table_or_a_browser_would_take(results):
    claim(results, "RB-001/recover/scenario-c/4")["reason"] = EVIL
    line = next(line for line in summary(whole(results)).splitlines() if "scenario-c/4:" in line)
    assert line.count(" | ") == 3
    assert "&lt;script" in line
    assert r"\[x\](javascript" in line


def test_summary_counts_each_runbook(results):
    text = summary(whole(results))
    assert "| RB-001 | 1 | 1 | 2 | 1 | 7 | 2 | 2 | 16 |" in text
    assert "TestLockTimeout | fault IdleInTransaction-projects timed out | failed | 4.2 s | – | 24.8 s | 23.9 s" in text


# ------------------------------------------------------------------------------------------------------------ page


def test_page_needs_nothing_from_outside(results, events):
    html = page(whole(results), events)
    assert "<script" not in html
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:,)""", html)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_shows_every_claim_with_its_verdict_in_document_order(results, events):
    html = page(whole(results), events)
    places = [html.index(f'id="{c["id"]}"') for c in results["claims"] if c["runbook"] == "RB-001"]
    assert places == sorted(places)
    for c in results["claims"]:
        assert f'class="claim {c["verdict"]}" id="{c["id"]}"' in html.replace("claim flat", "claim")


def test_page_unfolds_only_the_scenarios_that_did_not_pass(results):
    html = page(whole(results), [])
    folded = re.findall(r'<details class="scenario"( open)?>\s*<summary.*?<strong class="name">(\w+)<', html, re.DOTALL)
    assert folded == [(" open", "TestLockTimeout"), ("", "TestLockTimeoutIsBounded")]


def test_page_escapes_runbook_and_journal(results, events):
    hostile = copy.deepcopy(events)
    for event in hostile:
        for name in ("stdout", "detail", "what", "by"):
            if name in event:
                event[name] = EVIL
    for c in results["claims"]:
        c["text"] = c["reason"] = c["label"] = EVIL
        c["under"] = [EVIL]
        for part in c["parts"]:
            part["text"] = EVIL
    results["run"]["notes"] = [EVIL]
    results["run"]["command"] = EVIL
    results["environment"][EVIL] = [EVIL]
    html = page(whole(results), hostile)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html
    assert "\x00" not in html


def test_page_bounds_a_big_output_and_says_so(results, events):
    big = copy.deepcopy(events)
    command = next(event for event in big if event["kind"] == "command")
    command["stdout"] = "begin" + "x" * 5_000_000 + "the end"
    html = page(whole(results), big)
    assert len(html) < 300_000
    assert "begin" in html
    assert "the end" in html
    assert "5,000,012 characters are left out here" in html


def test_evidence_is_bounded_for_a_claim_and_for_the_page(monkeypatch):
    common = {"run": "r", "worker": "main", "time": "", "kind": "command", "arm": "a", "account": "o", "host": "h"}
    more = {"printed": None, "argv": ["x"], "role": None, "status": 0, "stderr": "", "seconds": 0.1, "refused": None}
    events = [common | more | {"seq": i, "t": i, "stdout": "y" * 9_000} for i in range(40)]
    monkeypatch.setattr("runlab.reporting.evidence.PER_PAGE", 10 * PER_EVENT)
    evidence = Evidence(events)
    groups, left = evidence.of(f"main:{i}" for i in range(40))
    views = groups[0].views
    assert (len(views), left) == (PER_CLAIM, 40 - PER_CLAIM)
    assert sum(len(view.output) for view in views) < 11 * PER_EVENT
    assert all(view.cut for view in views)


def test_an_alert_named_as_evidence_brings_its_whole_chain(results, events):
    c = claim(results, "RB-001/detect/alerts/1")
    signal = next(event for event in events if event["kind"] == "signal" and event["name"] == "DatabaseMigrationFailed")
    groups, _ = Evidence(events).of([journal.evidence(signal)])
    chains = groups[0].chains
    assert [hop for hop, _, _ in chains[0].hops] == ["scraped", "pending", "firing", "delivered", "resolved"]
    assert [round(s, 2) for _, s, _ in chains[0].hops] == [3.32, 3.54, 3.96, 4.17, 6.7]
    assert c["verdict"] == "confirmed"


def test_a_hop_noticed_after_its_follower_happened_no_later_than_it():
    common = {"run": "r", "worker": "w", "time": "", "arm": "a"}
    hops = [
        ("arm-start", "", 0.0),
        ("inject", "", 1.0),
        ("hop", "pending", 2.0),
        ("hop", "scraped", 2.5),
        ("hop", "firing", 3),
    ]
    events = [common | {"seq": i, "kind": k, "hop": h, "alert": "A", "t": t} for i, (k, h, t) in enumerate(hops)]
    chain = Evidence(events).chain("a", "A")
    assert chain is not None
    assert [(hop, s) for hop, s, _ in chain.hops] == [("scraped", 1.0), ("pending", 1.0), ("firing", 2.0)]


def test_an_event_that_nobody_knows_is_shown_as_it_stands():
    event = {"run": "r", "worker": "w", "seq": 1, "t": 1.0, "time": "", "kind": "novel", "arm": None, "colour": "blue"}
    groups, _ = Evidence([event]).of(["w:1", "w:1", "w:2"])
    assert [(view.head, view.values) for view in groups[0].views] == [("novel", (("colour", "blue"),))]


def test_timeline_is_to_scale(events):
    drawn = timeline(events, "TestLockTimeout/fault/IdleInTransaction-projects/waiting")
    assert drawn is not None
    lanes = {lane.label: lane.spans for lane in drawn.lanes}
    assert list(lanes) == ["fault", "trigger", "DatabaseMigrationFailed", "other signals", "steps", "recovered"]
    fault = lanes["fault"][0]
    assert (fault.left, fault.width) == (
        pytest.approx(100 * 0.3 / 8.2, abs=0.1),
        pytest.approx(100 * 4.7 / 8.2, abs=0.1),
    )
    assert all(0 <= s.left <= 100 and s.left + s.width <= 100.5 for spans in lanes.values() for s in spans)
    assert timeline(events, "TestNowhere/fault") is None
