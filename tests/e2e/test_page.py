"""The report in a real browser: what its DOM holds, what it logs, what it asks the network for, how wide it gets."""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runlab import journal
from runlab.reporting.write import write_all

DATA = Path(__file__).parents[1] / "data"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
ASKED = re.compile(r'"initiator":"(?!not an origin)[^"]*".*"url":"((?:https?|wss?)://[^"]*)"')
"""What a page asks for, in the browser's network log; the browser's own wishes have no origin."""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
EVIL = "<img src=http://127.0.0.1:9/x onerror=console.error('ran')><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on PATH (apt-get install chromium)")
    return found


def opened(browser: str, page: Path, profile: Path, *more: str) -> tuple[str, str, list[str]]:
    """The rendered DOM, what the browser logged from the page, and every address that the page asked for."""
    net_log = profile.with_suffix(".net.json")
    command = [browser, *QUIET, f"--user-data-dir={profile}", f"--log-net-log={net_log}", "--enable-logging=stderr"]
    command += [*more, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    asked = ASKED.findall(net_log.read_text(encoding="utf-8", errors="replace"))
    return done.stdout, console, asked


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return journal.read(DATA / "journal-example")


def test_the_browser_shows_every_verdict_and_complains_of_nothing(browser, results, events, tmp_path):
    write_all(results, events, tmp_path)
    dom, console, asked = opened(browser, tmp_path / "index.html", tmp_path / "profile")
    assert console == ""
    assert asked == []
    for claim in results["claims"]:
        element = re.search(rf'<(?:details|div) class="claim ([a-z ]+)" id="{re.escape(claim["id"])}">', dom)
        assert element is not None, claim["id"]
        assert element[1].split()[-1] == claim["verdict"]
    assert "pid,blocker\n4720,4711" in html.unescape(dom)


def test_hostile_text_runs_nothing_and_fetches_nothing(browser, results, events, tmp_path):
    hostile = copy.deepcopy(events)
    for event in hostile:
        for name in ("stdout", "detail", "by"):
            if name in event:
                event[name] = EVIL
    for claim in results["claims"]:
        claim["text"] = claim["reason"] = EVIL
    write_all(results, hostile, tmp_path)
    dom, console, asked = opened(browser, tmp_path / "index.html", tmp_path / "profile")
    assert "<title>Runbook lab" in dom
    assert "<img" not in dom
    assert console == ""
    assert asked == []


def test_the_pages_own_policy_stops_what_escaping_would_miss(browser, results, events, tmp_path):
    """The second line of defence; and without it the same text runs and asks, so that these tests could fail."""
    write_all(results, events, tmp_path)
    page = tmp_path / "index.html"
    broken = page.read_text(encoding="utf-8").replace("</main>", EVIL + "</main>")
    page.write_text(broken, encoding="utf-8")
    dom, console, asked = opened(browser, page, tmp_path / "profile")
    assert "<title>Runbook lab" in dom
    assert "<img" in dom
    assert "Content Security Policy" in console
    assert asked == []
    page.write_text(POLICY.sub("", broken), encoding="utf-8")
    dom, _, asked = opened(browser, page, tmp_path / "profile")
    assert "<title>owned" in dom
    assert asked == ["http://127.0.0.1:9/x"]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(browser, results, events, tmp_path, width):
    """Measured by a script in a frame around a copy without the policy; everything unfolded."""
    for claim in results["claims"]:
        claim["text"] = claim["reason"] = "x" * 300
    write_all(results, events, tmp_path)
    page = tmp_path / "index.html"
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    measure = "<script>document.documentElement.dataset.wide = document.documentElement.scrollWidth</script></body>"
    page.write_text(text.replace("<details", "<details open").replace("</body>", measure), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="index.html" style="width:{width}px;height:800px;border:0"></iframe><script>'
        "onload = () => document.body.append('wide=' + "
        "document.querySelector('iframe').contentDocument.documentElement.dataset.wide)</script>",
        encoding="utf-8",
    )
    dom, _, _ = opened(browser, frame, tmp_path / "profile", "--allow-file-access-from-files")
    measured = re.search(r"wide=(\d+)", dom)
    assert measured is not None
    assert int(measured[1]) <= width
