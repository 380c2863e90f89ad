"""Laboratories, runbooks and journals for the tests of the lab: nothing below is a test of this repository."""

collect_ignore_glob = ["*"]
