"""The stack: starts, resets and ends the real servers that a run needs."""
