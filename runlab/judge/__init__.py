"""The judge: a pure function from the journal to verdicts. Nothing here touches a server, a clock or a file.

`results` makes results.json of a whole run; `complaints` says what one arm alone already refutes or leaves undecided.
The rules stand one file a kind of claim: detect.py, recover.py, prevent.py; how pieces become one verdict: pieces.py.
"""

from runlab.judge.complaints import complaints
from runlab.judge.results import exit_status, results

__all__ = ["complaints", "exit_status", "results"]
