"""This repository's own settings of the pytest plugin: who observes."""

pytest_plugins = ["verifiers.plugin", "verifiers.platform", "verifiers.network"]
