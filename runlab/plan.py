"""What a run is about to try: experiments, the sentences that they rest on, and what carries those sentences out.

Made once, before anything is started. Every label, wording and name is looked up here, so that a mistake in a
scenario, a step definition or a runbook ends the run while nothing has been touched yet.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from runlab import runbook as text
from runlab.arm import ArmSpec
from runlab.model import ArmName, Claim, Fault, JsonObject, LabError, Runbook, Signal
from runlab.scenario import Experiment, Prevention, Scenario
from runlab.steps import Registry, load_modules

ARMS: Mapping[str, ArmName] = {
    "test_quiet_without_fault": "quiet",
    "test_detected_and_recovered": "fault",
    "test_stays_broken_without_recovery": "withheld",
    "test_without_the_measure": "off",
    "test_with_the_measure": "on",
    "test_harmless_with_the_measure": "quiet",
}


@dataclass(frozen=True)
class Plan:
    """Everything that a run knows before it starts."""

    runbooks: Mapping[str, Runbook]
    experiments: tuple[type[Experiment], ...]
    steps: Mapping[str, Registry]
    """The step definitions that serve each runbook under test, by its id."""
    bindings: Mapping[str, JsonObject]
    """By claim: who carries it out, or why nobody does."""
    not_signals: Mapping[str, Mapping[str, str]]
    needs: frozenset[str]
    """Capabilities of the stack that the selected arms need."""

    @classmethod
    def make(cls, runbooks: Path, experiments: Iterable[type[Experiment]], selected: Iterable[ArmSpec]) -> Plan:
        """Read the runbooks and bind them. Raises LabError for whatever does not fit together."""
        books = {book.id: book for book in text.load(runbooks)}
        tried = tuple(experiments)
        _check_names(tried)
        for experiment in tried:
            _check_labels(experiment, books, runbooks)
        registries = {folder: Registry.collect(load_modules(folder)) for folder in {_folder(e) for e in tried}}
        steps = {experiment.runbook: registries[_folder(experiment)] for experiment in tried}
        followed = {
            claim.id
            for experiment in tried
            for label in _procedures(experiment, books[experiment.runbook])
            for claim in text.procedure(books[experiment.runbook], label)
        }
        return cls(
            runbooks=books,
            experiments=tried,
            steps=steps,
            bindings={
                claim.id: binding
                for name, registry in steps.items()
                for claim in books[name].claims
                if (binding := _binding(registry, claim, needed=claim.id in followed)) is not None
            },
            not_signals={name: _not_signals([e for e in tried if e.runbook == name], books[name]) for name in steps},
            needs=frozenset(need for spec in selected for need in spec.needs),
        )

    def signals(self) -> tuple[Signal, ...]:
        """Every alert, signature and symptom of every runbook that was read; all are watched in every arm."""
        found: list[Signal] = []
        for name, book in self.runbooks.items():
            found += text.signals(book, self.not_signals.get(name, {}))
            if name in self.steps:
                found += self.steps[name].symptoms(book)
        return tuple(found)

    def claims_event(self) -> JsonObject:
        return {
            "runbooks": [asdict(book) for book in self.runbooks.values()],
            "not_signals": {name: dict(spans) for name, spans in self.not_signals.items()},
        }

    def plan_event(self, arms: Sequence[str], capabilities: frozenset[str]) -> JsonObject:
        """The journal's plan: `arms` are the ids of those selected; scenarios name all their incidents."""
        return {
            "arms": list(arms),
            "scenarios": [self._scenario(experiment, capabilities) for experiment in self.experiments],
            "bindings": dict(self.bindings),
        }

    def _scenario(self, experiment: type[Experiment], capabilities: frozenset[str]) -> JsonObject:
        book = self.runbooks[experiment.runbook]
        every = [spec for name in ARMS if hasattr(experiment, name) for spec in specs(experiment, name)]
        harmed = [spec for spec in every if spec.name != "quiet"]
        incidents = list(dict.fromkeys(spec.incident for spec in harmed))
        lacking = {spec.incident: sorted(lacks) for spec in harmed if (lacks := spec.needs - capabilities)}
        cause, measure = getattr(experiment, "cause", ""), getattr(experiment, "measure", "")
        return {
            "scenario": experiment.__name__,
            "runbook": book.id,
            "cause": cause,
            "cause_claim": text.labelled(book, "cause", cause).id if cause else None,
            "measure": measure,
            "measure_claim": text.labelled(book, "prevent", measure).id if measure else None,
            "margin": asdict(experiment.margin) if issubclass(experiment, Prevention) else None,
            "procedures": list(_procedures(experiment, book)),
            "steps": [claim.id for label in _procedures(experiment, book) for claim in text.procedure(book, label)],
            "incidents": incidents,
            "lacking": lacking,
        }


def specs(experiment: type[Experiment], test: str) -> Iterator[ArmSpec]:
    """The arms that one test function of an experiment stands for, in the order in which they are run."""
    name = ARMS[test]
    if issubclass(experiment, Prevention):
        settings = {"off": experiment.off, "on": experiment.on}.get(name, {**experiment.on, **experiment.harmless})
        broken = experiment.fault.in_case(settings) if experiment.fault else None
        yield ArmSpec(
            experiment=experiment.__name__,
            runbook=experiment.runbook,
            name=name,
            fault=None if name == "quiet" else broken,
            case=experiment.case,
            settings=settings,
            measure=experiment.measure,
            impact=experiment.impact,
            observed_for_s=experiment.observed_for_s,
            needs=experiment.needs | (broken.needs if broken else frozenset()),
        )
    elif issubclass(experiment, Scenario):
        every = _faults(experiment)
        for fault in [None] if name == "quiet" else every:
            for case, settings in experiment.cases.items():
                of_case = [each.in_case(settings) for each in (every if fault is None else [fault])]
                yield ArmSpec(
                    experiment=experiment.__name__,
                    runbook=experiment.runbook,
                    name=name,
                    fault=of_case[0] if fault else None,
                    case=case,
                    settings=settings,
                    cause=experiment.cause,
                    procedures=_procedures(experiment),
                    floor={} if name == "quiet" else experiment.floor.get(case, {}),
                    detected_by=experiment.detected_by,
                    detects_within_s=experiment.detects_within_s,
                    recovers_within_s=experiment.recovers_within_s,
                    needs=experiment.needs.union(*(each.needs for each in of_case)),
                )


def _faults(experiment: type[Scenario]) -> tuple[Fault, ...]:
    return experiment.faults if isinstance(experiment.faults, tuple) else (experiment.faults,)


def _procedures(experiment: type[Experiment], book: Runbook | None = None) -> tuple[str, ...]:
    """The labels of its procedure; of those that not every edition has, what `book` has."""
    labels = getattr(experiment, "procedure", ())
    labels = (labels,) if isinstance(labels, str) else tuple(labels)
    newer = getattr(experiment, "not_in_every_edition", ())
    return tuple(name for name in labels if name not in newer or book is None or text.has_procedure(book, name))


def _check_names(experiments: Iterable[type[Experiment]]) -> None:
    """The journal knows an experiment by its class's name alone."""
    places: dict[str, str] = {}
    for experiment in experiments:
        name, place = experiment.__name__, _place(experiment)
        if name in places:
            raise LabError(f"{name} stands twice, first in {places[name]}", where=place, mend="give it another name")
        places[name] = place


def _check_labels(experiment: type[Experiment], books: Mapping[str, Runbook], where: Path) -> None:
    place = _place(experiment)
    book = books.get(experiment.runbook)
    if book is None:
        raise LabError(f"there is no {experiment.runbook} in {where}", where=place, mend=f"known: {', '.join(books)}")
    try:
        if issubclass(experiment, Scenario):
            text.labelled(book, "cause", experiment.cause)
            for label in _procedures(experiment, book):
                text.procedure(book, label)
        elif issubclass(experiment, Prevention):
            text.labelled(book, "prevent", experiment.measure)
    except LabError as error:
        raise LabError(f"{experiment.__name__}: {error.message}", where=place, mend=error.mend) from None


def _place(experiment: type[Experiment]) -> str:
    return f"{text.display(Path(str(inspect.getsourcefile(experiment))))}:{inspect.getsourcelines(experiment)[1]}"


def _folder(experiment: type[Experiment]) -> Path:
    return Path(str(inspect.getsourcefile(experiment))).parent


def _binding(registry: Registry, claim: Claim, *, needed: bool) -> JsonObject | None:
    """How the journal tells who carries a claim out, or why nobody does; None where nobody has to.

    `needed`: some scenario follows a procedure that holds it. A symptom without any alert or signature always needs
    a definition, since nothing else could see it.
    """
    match = registry.bind(claim)
    if match is None:
        needed |= claim.kind == "detect" and not any(part.kind in ("alert", "signature") for part in claim.parts)
        return {"role": None, "error": registry.explain_missing(claim).splitlines()[0]} if needed else None
    definition = match.definition
    return {
        "role": None if definition.role == "signal" else definition.role,
        "symptom": definition.role == "signal",
        "place": definition.place,
        "pattern": definition.pattern,
        "promises": dict(definition.promises),
        "lists": definition.lists,
        "who": definition.who,
        "why": definition.why,
    }


def _not_signals(experiments: Iterable[type[Experiment]], book: Runbook) -> dict[str, str]:
    """NOT_SIGNALS of their modules, as far as this edition of the text has those spans."""
    spans = {part.text for claim in book.of_kind("detect") for part in claim.parts}
    modules = dict.fromkeys(inspect.getmodule(experiment) for experiment in experiments)
    listed = [item for module in modules for item in getattr(module, "NOT_SIGNALS", {}).items()]
    return {span: why for span, why in listed if span in spans}
