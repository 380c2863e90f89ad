"""Fixtures that several test modules share; what they are made of is in the modules that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab import arm
from tests.benches import Bench, new_bench
from tests.consoles import Console, new_console


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A laboratory of variables, on which arms can be run."""
    monkeypatch.setattr(arm, "STEADY_WITHIN_S", 0.2)
    bench = new_bench(tmp_path)
    yield bench
    bench.laboratory.journal.close()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """An operator's console that runs nothing."""
    console = new_console(tmp_path)
    yield console
    console.journal.close()
