"""A procedure being followed: sentence by sentence, in the document's order, as a person on call would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from runlab import runbook
from runlab.console import Facts, Found, Operator
from runlab.laboratory import Laboratory
from runlab.model import Claim, Observation, Runbook
from runlab.situation import Situation, State
from runlab.sqltext import RefusedError
from runlab.steps import Match
from runlab.waiting import DeadlineError, wait_until


class Procedure:
    """The operator at work in one arm. Keeps the facts found so far; looks at the system before and after each step.

    `complain` is told of a sentence that nobody can carry out.
    """

    def __init__(
        self, laboratory: Laboratory, book: Runbook, situation: Situation, complain: Callable[[str], None]
    ) -> None:
        self._lab, self._book, self._situation, self._complain = laboratory, book, situation, complain
        self._facts: dict[str, tuple[Found, str]] = {}
        self._last: State | None = None
        """The look with which the step before ended, and the next one begins."""

    def follow(self, label: str) -> None:
        """Take every step of the list with this label."""
        for claim in runbook.procedure(self._book, label):
            self._take(claim)

    def _take(self, claim: Claim) -> None:
        registry = self._lab.steps[self._book.id]
        match = registry.bind(claim)
        if match is None:
            self._complain(f"{claim.where}: {claim.text}\n{registry.explain_missing(claim)}")
            return
        definition, write = match.definition, self._lab.journal.write
        write("step-start", claim=claim.id, role=definition.role, place=definition.place)
        if definition.role == "advises":
            write("step-end", claim=claim.id, ran=False, facts={}, used={}, error=None)
            return
        seen = self._situation.ask_witness(f"before {claim.id}") if definition.role == "finds" else None
        self._situation.write_state(f"before {claim.id}", self._state_before(seen))
        error, facts = self._carry_out(claim, match)
        write(
            "step-end",
            claim=claim.id,
            ran=error is None,
            facts={name: found.as_data() for name, found in facts.items()},
            used={name: self._facts[name][1] for name in definition.fills if name in self._facts},
            error=error,
        )
        self._facts |= {name: (found, claim.id) for name, found in facts.items()}
        self._last = self._state_after(match, ran=error is None)
        self._situation.write_state(claim.id, self._last)

    def _carry_out(self, claim: Claim, match: Match) -> tuple[str | None, Mapping[str, Found]]:
        """What went wrong, if anything, and the facts that the definition cut out of its commands' outputs."""
        fills = {name: self._facts[name][0] for name in match.definition.fills if name in self._facts}
        missing = [name for name in match.definition.fills if name not in fills or not fills[name].values]
        if missing:
            return f"no earlier step found any {', '.join(missing)}", {}
        operator = Operator(self._lab.stack, self._lab.journal, self._lab.console, claim, self._alert())
        try:
            answer = match.definition.function(operator, **match.arguments, **fills)
        except RefusedError:
            answer = None
        except Exception as crash:  # noqa: BLE001 -- whatever a definition raises makes no verdict, it is written down
            self._lab.stack.ensure_kept()  # that the stack is gone says nothing of the sentence
            return f"{type(crash).__name__}: {crash}", {}
        if operator.refused:  # also where the definition went on regardless
            return f"command not allowed: {operator.refused}", {}
        if answer is None:
            return None, {}
        if not isinstance(answer, Facts):
            return f"TypeError: the definition returned {type(answer).__name__}, not Facts", {}
        return None, answer.found

    def _alert(self) -> Mapping[str, str]:
        """The labels of the first alert of this runbook that was delivered in this arm, as the journal has them."""
        ours = f"{self._book.id}/"
        return next(
            (
                event["labels"]
                for event in self._lab.journal.of_arm()
                if event["kind"] == "signal" and "labels" in event and event["claim"].startswith(ours)
            ),
            {},
        )

    def _state_before(self, seen: Observation | None) -> State:
        """What is known when a step begins; `seen` is what the fault's witness has just said, if it was asked."""
        if self._last is None:
            return self._situation.state(seen)
        return replace(self._last, fault=seen.holds) if seen else self._last

    def _state_after(self, match: Match, *, ran: bool) -> State:
        """The state once what the sentence promises has come about, or its time is over."""
        promises = match.definition.promises
        if not (ran and promises):
            return self._situation.state()
        looks: list[State] = []

        def kept() -> bool:
            looks[:] = [self._situation.state()]
            return all(looks[0].value(name) == wanted for name, wanted in promises.items())

        with suppress(DeadlineError):  # the judge sees from the state that a promise was not kept
            deadline_s = match.definition.within_s
            wait_until(match.definition.pattern, kept, deadline_s=deadline_s, progress=self._lab.progress)
        return looks[0]
