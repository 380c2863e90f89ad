"""The runbook lab: claims of a runbook, tried on real servers, judged from a journal."""
