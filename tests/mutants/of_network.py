"""Of RB-002 something is not what it was: its text, a rule of the packet filter, an alert, what the canary asks for."""

from __future__ import annotations

from tests.mutants.mutant import NAMES, NETWORK, PROCEDURE, Edit, Loses, Mutant, arms

TEXT = "runbooks/RB-002-network-connectivity.md"
FILTER = "faults/packet_filter.py"
FLUSH = "only then empty the DNS cache of each node or container that is affected"

_FAULT = "test_detected_and_recovered"
REJECTED = arms("TestOneZoneIsShutOff", f"{_FAULT}[Rejected-zone-a-data-plain]", file=NETWORK)
UNREACHABLE = arms("TestOneZoneIsShutOff", f"{_FAULT}[HostUnreachable-zone-a-data-plain]", file=NETWORK)
SHUT_OUT = arms("TestUsersAreShutOutOfOnePort", _FAULT, file=NETWORK)
REFUSES = arms("TestProviderFails", f"{_FAULT}[Down-east-plain]", file=NETWORK)
STALE = arms("TestStaleCache", _FAULT, file=NAMES)

FIREWALL, CANARY = "A rule holds back", "`ServiceUnreachable` is raised"
ERRORS, LOGS = "`HighErrorRate` is raised", "One of these in a log: `Connection refused`"
NOT_WITNESSED = "the fault was not witnessed"
NOT_DELIVERED = r"alert HighErrorRate or ServiceUnreachable was not delivered within [\d.]+ s"
NOT_RECOVERED = "^did not recover: .*; not carried out as written: RB-002/recover/immediate-actions/2$"
"""Not refuted, since the second of the immediate actions is left to people, who might have done what helps."""
ELSEWHERE = "^causes not injected: DNS Resolution"

MUTANTS = (
    Mutant(
        "reject-made-a-drop",
        "the rule that should reject lets packets vanish",
        (Edit(FILTER, '("-j", "REJECT", "--reject-with", "icmp-port-unreachable")', '("-j", "DROP")'),),
        red="after injection the fault is not in effect, says .* is told from zone-a: silent, from control: connected",
        loses=(
            Loses(FIREWALL, "inconclusive", NOT_WITNESSED),
            Loses(LOGS, "inconclusive", NOT_WITNESSED),
        ),
        selection=REJECTED,
    ),
    Mutant(
        "words-of-another-signature",
        "whoever should be told that there is no way to a host is told that nobody listens there",
        (Edit(FILTER, '"icmp-host-unreachable"', '"icmp-port-unreachable"'),),
        red="after injection the fault is not in effect, says .* is told from zone-a: ECONNREFUSED",
        loses=(
            Loses(FIREWALL, "inconclusive", NOT_WITNESSED),
            Loses(LOGS, "inconclusive", NOT_WITNESSED),
        ),
        selection=UNREACHABLE,
    ),
    Mutant(
        "one-signature-of-four-swapped",
        "the runbook names one of its four signatures a second time, in place of the one that shows",
        (Edit(TEXT, "`No route to host`", "`Connection refused`"),),
        red=None,
        loses=(Loses(LOGS, "untested", ELSEWHERE),),
        selection=UNREACHABLE,
        exit_status=0,  # with another cause it might show
    ),
    Mutant(
        "flush-dropped",
        "the runbook no longer says to empty the caches",
        (Edit(TEXT, f"    2.  Put a wrong record right where it is kept; {FLUSH}.\n", ""),),
        red="not recovered within 6 s of the last step: ",
        loses=(Loses(PROCEDURE, "inconclusive", NOT_RECOVERED),),
        selection=STALE,
    ),
    Mutant(
        "flush-of-nothing",
        "the definition that should empty the caches leaves them as they are",
        (Edit("scenarios/steps_rb002.py", "\n    flush_caches(operator)\n", "\n"),),
        red="refuted: .*\n.*says: .*Put a wrong record right.*\n.*\n.*names is 'wrong', not 'right'",
        loses=(
            Loses(FLUSH, "refuted", "names is 'wrong', not 'right'"),
            Loses(PROCEDURE, "inconclusive", NOT_RECOVERED),
        ),
        selection=STALE,
    ),
    Mutant(
        "threshold-moved",
        "the alert fires only when all but one answer in a hundred are errors",
        (Edit("compose/prometheus/rules/rb002.yml", "> 0.05", "> 0.99"),),
        red=NOT_DELIVERED,
        loses=(Loses(ERRORS, "untested", ELSEWHERE),),
        selection=REFUSES,
    ),
    Mutant(
        "probe-pointed-elsewhere",
        "the canary asks a replica, past the load balancer by which users come in",
        (
            Edit(
                "compose/monitoring.yaml",
                'target: ["http://${HOST_lb:-lb}:8000/projects?limit=1"]',
                'target: ["http://${HOST_api1:-api1}:8000/projects?limit=1"]',
            ),
        ),
        red=NOT_DELIVERED,
        loses=(Loses(CANARY, "untested", ELSEWHERE),),
        selection=SHUT_OUT,
    ),
)
