"""The watchers of this repository, offered to `runlab.plugin` as a pytest plugin of its own."""

from __future__ import annotations

import pytest

from runlab.journal import Journal
from runlab.model import Signal, Stack, Watcher
from verifiers.alerts import AlertWatcher
from verifiers.logs import LogWatcher
from verifiers.metrics import MetricWatcher
from verifiers.users import UsersWatcher

USERS = ("users", "archive-users", "visitors")
"""The services that hold users, as far as the stack runs them; each keeps a record in its data folder."""


@pytest.hookimpl
def pytest_runlab_watchers(
    stack: Stack, journal: Journal, signals: tuple[Signal, ...], time_scale: float
) -> list[Watcher]:
    """All four; each takes from `signals` what it can see. They watch until they are closed."""
    records = {name: stack.data_folder(name) / "users.jsonl" for name in USERS if name in stack.log_files()}
    metrics = MetricWatcher(stack, journal, signals, time_scale=time_scale)
    return [
        AlertWatcher(stack, journal, signals),
        LogWatcher(stack, journal, signals),
        metrics,
        UsersWatcher(stack, journal, signals, records=records),
    ]
