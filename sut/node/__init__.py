"""The machine that one replica of the API runs on: it starts a release, keeps it running, and swaps it for another."""
