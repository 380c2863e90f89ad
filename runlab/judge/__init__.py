"""The judge: a pure function from the journal to verdicts. Nothing here touches a server, a clock or a file.

`results` makes results.json of a whole run; `complaints` says what one arm alone already refutes or leaves undecided.

Read history.py first (what happened in each arm), then the rules, a file a kind of claim: detect.py (signals and
causes), step.py (one sentence of a procedure), recover.py (procedures, and what held against the arm without the
steps), prevent.py. Each makes *pieces*, what one arm says of one claim; pieces.py makes one verdict of many. parts.py
says which parts of a sentence were really tried.

Confirmed is what held in every arm that was tried, and whose control has run and did not contradict it, in a run that
came to its end. Nothing less: an arm that broke off, or could not decide, leaves it observed.
"""

from runlab.judge.complaints import complaints
from runlab.judge.results import exit_status, results

__all__ = ["complaints", "exit_status", "results"]
