"""Binding of sentences to step definitions: what matches, what is refused, and what is told when nothing matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlab.model import Claim, Kind, LabError, PromQL, Runbook, Signal, UsersSay
from runlab.runbook import load
from runlab.steps import Registry, acts, advises, finds, signal

RECEIVED = Path(__file__).parent.parent.parent / "shared" / "runbooks-as-received.md"


def claim(text: str, kind: Kind = "recover", under: tuple[str, ...] = (), label: str = "") -> Claim:
    return Claim(f"RB-950/{kind}/1", "RB-950", kind, label, text, "book.md", 7, under)


def registry(*functions: Callable[..., Any]) -> Registry:
    module = ModuleType("steps_of_a_test")
    module.__dict__.update({f"step_{number}": function for number, function in enumerate(functions)})
    return Registry.collect([module])


def arguments(pattern: str, text: str) -> dict[str, str] | None:
    def step(operator: object, **fields: str) -> None: ...

    match = registry(finds(pattern)(step)).bind(claim(text))
    return match and match.arguments


def refused(*functions: Callable[..., Any]) -> str:
    with pytest.raises(LabError) as refusal:
        registry(*functions)
    message = str(refusal.value)
    assert message.startswith("tests/test_steps.py:") or "/tests/test_steps.py:" in message
    assert refusal.value.mend
    return message


@finds("Look at the queue: {query:code}")
def look(operator: object, query: str) -> None: ...


# ------------------------------------------------------------------------------------------------------------ matching


def test_a_sentence_binds_by_its_whole_wording_and_yields_its_code() -> None:
    match = registry(look).bind(claim("Look at the queue: `SELECT 1`"))
    assert match is not None
    assert match.arguments == {"query": "SELECT 1"}
    assert match.definition.function is look
    assert match.definition.role == "finds"
    file, line = match.definition.place.rsplit(":", 1)
    assert Path(file).name == "test_steps.py"
    assert Path(__file__).read_text().splitlines()[int(line) - 1].startswith("@finds")


@pytest.mark.parametrize(
    "text",
    [
        "look at the queue: `SELECT 1`",
        "Look at the queue: `SELECT 1` now",
        "First: Look at the queue: `SELECT 1`",
        "Look at the queue: SELECT 1",
        "Look at the queue: `SELECT 1`, `SELECT 2`",
        "Look at the queue",
    ],
)
def test_another_wording_does_not_bind(text: str) -> None:
    assert registry(look).bind(claim(text)) is None


@pytest.mark.parametrize(
    ("pattern", "text", "taken"),
    [
        ("Run  the\n {tool:code}", "Run the `a  b`", {"tool": "a  b"}),
        ("Ask the owner of {what} twice", "Ask the owner of this host twice", {"what": "this host"}),
        ("Ask the owner of {what} twice", "Ask the owner of `this` twice", None),
        ("Run the {tool:code} or {other:code}.", "Run the `a` or `b`.", {"tool": "a", "other": "b"}),
        ("Run the {tool:code}.", "Run the `a` or `b`.", None),
        ("Run the {tool:code}", "Run the `` SHOW `t` ``", {"tool": "SHOW `t`"}),
        ("Run the {tool:code}", "Run the `` a` `` or `` `b ``", None),
        ("Keep it under {share:g} %", "Keep it under 0.50 %", {"share": "0.50"}),
        ("Wait about {seconds:d} s", "Wait about 070 s", {"seconds": "070"}),
        ("Set the {{braces}} to {value:code}", "Set the {braces} to `1`", {"value": "1"}),
        ("Read the `log` of {what:code}", "Read the `log` of `api`", {"what": "api"}),
        ("Run once {a:code} after {a:code} again", "Run once `x` after `x` again", {"a": "x"}),
        ("Run once {a:code} after {a:code} again", "Run once `x` after `y` again", None),
        ("Run the {:code} or {tool:code}.", "Run the `a` or `b`.", {"tool": "b"}),
        ("Ask the owner of {} twice", "Ask the owner of this twice", {}),
        ("Just this sentence.", "Just this sentence.", {}),
    ],
)
def test_fields_take_what_they_promise(pattern: str, text: str, taken: dict[str, str] | None) -> None:
    assert arguments(pattern, text) == taken


@given(st.text(alphabet="ab `{}:.*\\(", max_size=30), st.text(alphabet="xy{}*; '", min_size=1, max_size=10))
def test_a_code_field_takes_exactly_one_span_whatever_stands_around(words: str, code: str) -> None:
    text = f"Do it now: `{code}`"
    assert arguments("Do it now: {command:code}", text) == {"command": code}
    if words.strip():
        assert arguments("Do it now: {command:code}", f"{text} and {words}") is None


def test_under_narrows_to_a_label_whole_or_up_to_its_colon() -> None:
    @acts("Soon: {command:code}", under="Raise it", promises={"limit": 5})
    def raise_limit(operator: object, command: str) -> None: ...

    steps = registry(raise_limit)
    assert steps.bind(claim("Soon: `x`", under=("Later", "Raise it: by hand")))
    assert steps.bind(claim("Soon: `x`", under=("Raise it",)))
    assert steps.bind(claim("Soon: `x`", under=("Raise it not",))) is None
    assert steps.bind(claim("Soon: `x`")) is None


def test_roles_bind_only_their_kinds_of_claims() -> None:
    @acts("one two", promises={"fault": False})
    def act(operator: object) -> None: ...

    @advises("three four", who="the owner", why="it is a matter of taste")
    def advise() -> None: ...

    @signal("five six")
    def symptom() -> PromQL:
        return PromQL("up == 0")

    kinds: tuple[Kind, ...] = ("detect", "cause", "recover", "prevent")
    steps = registry(act, advise, symptom)
    bound = {
        text: [kind for kind in kinds if steps.bind(claim(text, kind))]
        for text in ("one two", "three four", "five six")
    }
    assert bound == {"one two": ["recover"], "three four": ["recover", "prevent"], "five six": ["detect"]}


def test_definitions_carry_what_the_decorator_was_told() -> None:
    @acts("Stop these now: {command:code}", fills=("pid",), promises={"fault": False}, within_s=3)
    @finds("List these here", lists=True)
    def step(operator: object, command: str = "", pid: object = None) -> None: ...

    @advises("Think it over", who="the owner", why="taste")
    def think() -> None: ...

    finder, act, advice = registry(step, think).definitions
    assert (act.fills, act.promises, act.within_s) == (("pid",), {"fault": False}, 3)
    assert (finder.lists, act.lists) == (True, False)
    assert (advice.who, advice.why) == ("the owner", "taste")


def test_two_editions_stack_on_one_function() -> None:
    @finds("Look at it: {query:code}")
    @finds("Look at it closely: {query:code}")
    def both(operator: object, query: str) -> None: ...

    steps = registry(both, both)
    assert len(steps.definitions) == 2
    assert steps.bind(claim("Look at it: `a`"))
    assert steps.bind(claim("Look at it closely: `a`"))


def test_two_definitions_that_match_are_an_error_naming_both() -> None:
    @finds("Look at {what}: {query:code}")
    def vague(operator: object, what: str, query: str) -> None: ...

    with pytest.raises(LabError, match=r"^book\.md:7: 2 steps match RB-950/recover/1: ") as refusal:
        registry(look, vague).bind(claim("Look at the queue: `x`"))
    for definition in registry(look, vague).definitions:
        assert definition.place in str(refusal.value)


# ------------------------------------------------------------------------------------------------------------- refusal


@pytest.mark.parametrize(
    "pattern",
    [
        "{all}",
        "{all:code}",
        "{a} {b:code}",
        "Word {all}",
        "{a}: {b}",
        "one {a} two",
        "`two words` {a}",
        "Word {}",
        "{:code} word",
        "",
        "...",
        "1 2 {a}",
    ],
)
def test_a_catch_all_is_refused(pattern: str) -> None:
    def step(operator: object, **fields: str) -> None: ...

    assert "could match many a sentence" in refused(finds(pattern)(step))


def test_a_label_makes_one_word_enough_but_not_none() -> None:
    def step(operator: object, **fields: str) -> None: ...

    assert registry(finds("Soon: {a:code}", under="Label")(step)).definitions
    assert "could match many a sentence" in refused(finds("{a}", under="Label")(step))


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("two words {", "Single '{'"),
        ("two words }", "Single '}'"),
        ("two words {:x}", "bad field {:x}"),
        ("two words {a:w}", "bad field {a:w}"),
        ("two words {a!r}", "bad field {a}"),
        ("two words {a.b}", "bad field {a.b}"),
        ("two words {a} {a:code}", "field a has two kinds"),
    ],
)
def test_a_bad_pattern_is_refused_with_its_place(pattern: str, problem: str) -> None:
    def step(operator: object, **fields: str) -> None: ...

    assert problem in refused(finds(pattern)(step))


def test_a_function_that_does_not_fit_its_pattern_is_refused() -> None:
    def no_operator(query: str) -> None: ...
    def wrong_name(operator: object, command: str) -> None: ...
    def one_more(operator: object, query: str, pid: object) -> None: ...
    def no_fill(operator: object, query: str) -> None: ...
    def needs_something(metrics: object) -> None: ...

    sentence = "Look at it: {query:code}"
    assert "no_operator does not fit its pattern (multiple values" in refused(finds(sentence)(no_operator))
    assert "write def wrong_name(operator, query)" in refused(finds(sentence)(wrong_name))
    assert "missing a required argument: 'pid'" in refused(finds(sentence)(one_more))
    assert "write def no_fill(operator, query, pid)" in refused(
        acts(sentence, fills=["pid"], promises={"fault": False})(no_fill)
    )
    assert "write def needs_something()" in refused(signal("It is slow")(needs_something))


@pytest.mark.parametrize(
    ("details", "problem"),
    [
        ({"promises": {}}, "promises nothing"),
        ({"promises": ["fault"]}, "not a mapping"),
        ({"promises": {1: True}}, "not a mapping of names"),
        ({"promises": {"fault": object()}}, "no JSON"),
        ({"promises": {"fault": float("nan")}}, "no JSON"),
        ({"promises": {"fault": False}, "fills": "query"}, "`fills` is not a tuple"),
        ({"promises": {"fault": False}, "fills": ("query",)}, "query is a field and a fill"),
        ({"promises": {"fault": False}, "within_s": 0}, "`within_s` is not"),
        ({"promises": {"fault": False}, "under": " "}, "`under` is not a label"),
    ],
)
def test_a_bad_act_is_refused(details: dict[str, Any], problem: str) -> None:
    def step(operator: object, query: str) -> None: ...

    assert problem in refused(acts("Look at it: {query:code}", **details)(step))


def test_an_advice_without_reason_is_refused() -> None:
    assert "needs `who` and `why`" in refused(advises("Think it over", who="me", why=" ")(lambda: None))


# ------------------------------------------------------------------------------------------------------------ symptoms


def book(*claims: Claim) -> Runbook:
    return Runbook("RB-950", "Title", "book.md", 1, "0" * 64, claims)


def test_symptoms_carry_their_probes_and_the_whole_wording() -> None:
    slow = UsersSay("waits", lambda users: users.longest_wait_s > 5)

    @signal("It is slow.")
    def is_slow() -> UsersSay:
        return slow

    @signal("Far too many {status:code} answers")
    def answers(status: str) -> PromQL:
        return PromQL(f'rate(answers{{status="{status[:3]}"}}[5m]) > 0')

    texts = ("Far too many `503 Gone` answers", "Nobody knows.", "It is slow.")
    assert registry(is_slow, answers).symptoms(book(*(claim(text, "detect") for text in texts))) == (
        Signal("RB-950", "RB-950/detect/1", texts[0], "symptom", PromQL('rate(answers{status="503"}[5m]) > 0')),
        Signal("RB-950", "RB-950/detect/1", texts[2], "symptom", slow),
    )


@pytest.mark.parametrize("answer", [lambda: None, lambda: 1 / 0])
def test_a_symptom_without_a_probe_is_refused(answer: Callable[[], Any]) -> None:
    with pytest.raises(LabError, match=r"test_steps\.py:\d+: <lambda> (returned NoneType|raised ZeroDivisionError)"):
        registry(signal("It is slow.")(answer)).symptoms(book(claim("It is slow.", "detect")))


# ------------------------------------------------------------------------------------------------------------- missing


def pasted(steps: Registry, missing: Claim) -> Registry:
    """What comes of pasting the snippet for this claim into a module of steps."""
    _, *snippet = steps.explain_missing(missing).split("\n")
    module = ModuleType("steps_pasted")
    source = "\n".join(["from runlab.steps import acts, advises, finds, signal", *snippet])
    exec(compile(source, "steps_pasted.py", "exec"), module.__dict__)
    return Registry.collect([module])


def test_a_missing_step_names_the_nearest_wording_and_its_place() -> None:
    place = registry(look).definitions[0].place
    said = registry(look).explain_missing(claim("Look at the queues: `SELECT 1`"))
    assert said.splitlines() == [
        f'no step for this wording; the nearest known is "Look at the queue: {{query:code}}" ({place})',
        '@acts("Look at the queues: {command:code}", promises={"fault": False})  # or @finds, or @advises',
        "def look_at_the_queues(operator, command):",
        "    raise NotImplementedError",
    ]
    assert registry(look).explain_missing(claim("Rain", "detect")).startswith("no step for this wording\n@signal(")


def test_a_step_known_under_another_label_is_said_to_be_so() -> None:
    @finds("Soon: {query:code}", under="Raise it")
    def step(operator: object, query: str) -> None: ...

    assert 'is "Soon: {query:code}" under "Raise it" (' in registry(step).explain_missing(claim("Soon: `x`"))


@pytest.mark.parametrize(
    "missing",
    [
        claim('Say "no" to {this} \\ twice: `a` and `b`'),
        claim("Soon: `x`", under=("Later", "Raise it")),
        claim("3 times: class", "prevent"),
        claim("While it lasts: `x`"),
        claim("Pass.", "prevent"),
        claim("Slow.", "detect"),
    ],
)
def test_a_pasted_snippet_binds_the_claim(missing: Claim) -> None:
    assert pasted(registry(), missing).bind(missing)


def test_no_snippet_where_no_words_could_bind() -> None:
    assert registry().explain_missing(claim("`only code`")) == "no step for this wording"
    rising = claim("Rising `x` rate", "detect", under=("Alerts",))
    assert registry().explain_missing(rising) == "no step for this wording"
    assert registry().explain_missing(claim("A cause of it", "cause")) == "no step for this wording"


def test_snippets_bind_every_received_recovery_and_prevention() -> None:
    if not RECEIVED.exists():
        pytest.skip("the collection as received is not beside this repository (../shared/runbooks-as-received.md)")
    claims = [c for runbook in load(RECEIVED) for kind in ("recover", "prevent") for c in runbook.of_kind(kind)]
    assert len(claims) == 76
    for missing in claims:
        match = pasted(registry(), missing).bind(missing)
        assert match is not None
        assert list(match.arguments.values()) == [part.text for part in missing.parts if part.kind != "threshold"]
