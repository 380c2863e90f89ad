"""Fetch one file: `python3 fetch.py URL FILE`, a process of its own, so that it can be ended whatever it waits for."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

ANSWER_S = 4.0  # to look up the host, to reach it and to get its first answer, together
SILENCE_S = 20.0  # between two pieces of the file


def main(url: str, file: Path) -> int:
    """Write what `url` gives to `file`. 1, and one line on standard error, when it is not to be had."""
    answered, problems = threading.Event(), list[str]()

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=SILENCE_S) as answer, file.open("wb") as copy:  # noqa: S310
                answered.set()
                shutil.copyfileobj(answer, copy)
        except urllib.error.HTTPError as error:
            problems.append(str(error))
        except urllib.error.URLError as error:
            problems.append(_in_words(error.reason))
        except OSError as error:
            problems.append(_in_words(error))
        answered.set()

    # no time limit of sockets covers looking up a name, so that is left to a thread that need not end
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    if not answered.wait(ANSWER_S):
        print(f"error: no answer within {ANSWER_S:.0f} s", file=sys.stderr, flush=True)
        os._exit(1)
    thread.join()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _in_words(error: BaseException | str) -> str:
    return getattr(error, "strerror", None) or str(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
