"""Who observes: alerts, logs, metrics and the users' own record, as the lab brings them along."""

pytest_plugins = ["verifiers.plugin"]
