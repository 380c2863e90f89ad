"""The mutants: what is broken on purpose, and how the lab must notice. Each dies by a verdict, never by a crash."""

from __future__ import annotations

from tests.mutants import of_definitions, of_experiments, of_network, of_platform, of_signals, of_texts
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *of_signals.MUTANTS,
    *of_texts.MUTANTS,
    *of_definitions.MUTANTS,
    *of_experiments.MUTANTS,
    *of_platform.MUTANTS,
    *of_network.MUTANTS,
)
