"""How the sentences of RB-002 are carried out, in each edition's own wording."""

from runlab.console import Facts, Output
from runlab.model import PromQL
from runlab.steps import acts, advises, finds, signal

INSIDE, OUTSIDE = "control", "users"
ZONES = ("zone-a", "zone-b")

NAMES = ("east.provider.example", "db.platform.internal", "sessions.platform.internal")
"""What the platform's machines call others by."""
ANSWER = r"(?m)(?:^\S+\s+\d+\s+IN\s+A\s+|^Address: )([\d.]+)$"
NO_ANSWER = r"(?:<<>> DiG .* (?=\S+\n(?:(?!ANSWER SECTION)[\s\S])*$)|can't find )([^\s:]+)"
"""How dig and nslookup put it."""
LAST_HOP = r"(?s).*\n *\d+(?:\.\|--)? +([\d.]+)(?= )"
"""How traceroute and mtr print it."""
PATHS = (("zone-a", "provider-east"), ("zone-b", "provider-east"), ("zone-a", "db"), ("zone-b", "db"), ("users", "lb"))
"""Who has to reach whom."""
REGION_WEST = '{"release": "1", "settings": {"PROVIDER_REGION": "west"}}'


def together(*outputs):
    """What several commands printed, as one."""
    return Output(tuple(run for output in outputs for run in output.runs))


# ---------------------------------------------------------------------------------------------- immediate actions


@finds("Isolate Scope: Determine if the issue is internal (pod-to-pod) or external (user-facing).")
@finds(
    "Isolate Scope: Find out whether it fails on the inside (from pod to pod) or on the outside (where users come in)."
)
def isolate_scope(operator):
    """The same requests to each replica from the inside, and from where users are to what they come in by."""
    looks = [
        *look(operator, "inside", "api1", on=INSIDE),
        *look(operator, "inside", "api2", on=INSIDE),
        *look(operator, "outside", "lb", on=OUTSIDE, times=8),
    ]
    return Facts(fails=together(*looks).group(r"(\w+) (?:000|5\d\d)"))


def look(operator, side, service, on, times=1):
    """Requests that need the database, and one that needs the session store and the provider.

    Whoever comes in by a load balancer is served well by every other replica: so ask there more than once.
    """
    ask = f'curl -sS -m 1 -o /dev/null -w "{side} %{{http_code}}\\n"'
    more = f" -o /dev/null http://{service}:8000/projects?limit=1" * (times - 1)
    yield operator.run(f"{ask} http://{service}:8000/projects?limit=1{more}", on=on)
    begun = operator.run(f"curl -sS -m 1 -X POST http://{service}:8000/sessions", on=on)
    session = begun.group(r'"session": ?"([^"]+)"')
    if session.values:
        yield operator.run(
            f'{ask} -H "X-Session: <session>" http://{service}:8000/suggestions', each={"session": session}, on=on
        )
    else:
        yield operator.run(f"{ask} -X POST http://{service}:8000/sessions", on=on)


@advises(
    "Check Status Pages: Verify Cloud Provider status (AWS, GCP, Azure).",
    who="whoever reads the providers' pages",
    why="what AWS, GCP and Azure say of themselves can't be brought about here",
)
@advises(
    "Check Status Pages: See what the cloud provider (AWS, GCP, Azure) says of its own status.",
    who="whoever reads the providers' pages",
    why="what AWS, GCP and Azure say of themselves can't be brought about here",
)
def status_pages(operator): ...


# ------------------------------------------------------------------------------------------------------------ DNS


@acts("Flush DNS caches on affected nodes/containers.", promises={"names": "right"})
@acts("Empty the DNS cache of each node or container that is affected.", promises={"names": "right"})
def flush_caches(operator):
    for zone in ZONES:
        operator.run("pkill --signal HUP --pidfile /run/dnsmasq.pid", on=zone)


@finds("Verify DNS records using {first:code} or {second:code}.", lists=True)
@finds("Ask for the records with {first:code} or {second:code}, and see whether they are right.", lists=True)
def look_up(operator, first, second):
    """Each name as each zone gets it, in one by the first program, in the other by the second."""
    asked = together(
        *(operator.run(f"{first} +time=1 +tries=1 {name}", on="zone-a") for name in NAMES),
        *(operator.run(f"{second} -timeout=1 -retry=0 {name}", on="zone-b") for name in NAMES),
    )
    return Facts(address=asked.group(ANSWER), unresolved=asked.group(NO_ANSWER))


@acts(
    "Temporarily switch to backup DNS resolvers (e.g., 8.8.8.8) if internal DNS is failing.",
    promises={"names": "right"},
)
@acts(
    "While the internal DNS fails, go over to resolvers kept in reserve (8.8.8.8, for example).",
    promises={"names": "right"},
)
def backup_resolver(operator):
    for zone in ZONES:
        operator.run("cp /run/resolv.conf.backup /etc/resolv.conf", on=zone)


# ------------------------------------------------------------------------------------------------------- firewall


@finds("Use {first:code} or {second:code} to identify where packets are dropping.")
@finds("Find the place where packets get lost with {first:code} or {second:code}.")
def where_packets_stop(operator, first, second):
    """The last hop that answers on each path that does not lead to its end: by one program, and again by the other."""
    stopped = []
    for source, target in PATHS:
        trace = operator.run(f"{first} -n -q 1 -w 0.5 -m 3 {target}", on=source)
        if not arrived(trace):
            stopped += [trace, operator.run(f"{second} -n -r -c 1 -i 0.1 -G 0.3 -m 3 {target}", on=source)]
    return Facts(hop=together(*stopped).group(LAST_HOP))


def arrived(trace):
    """Whether the last hop is the one that was looked for, and no filter's mark stands behind it."""
    target, hops = trace.group(r"\(([\d.]+)\), \d+ hops"), trace.group(r"(?m)^ *\d+  ([\d.]+)  [\d.]+ ms$")
    return [*target] == [*hops][-1:]


@finds("Review recent Security Group or firewall rule changes.")
@finds("Look at what was changed lately in firewall rules or Security Groups.")
def review_rules(operator):
    """The latest change comes first."""
    rules = operator.run("iptables -S FORWARD", on="router")
    return Facts(rule=rules.group(r"(?m)^-A (FORWARD .*)$"))


@acts("Rollback recent network configuration changes.", fills=("rule",), promises={"fault": False})
@acts("Take back what was changed lately in the network's configuration.", fills=("rule",), promises={"fault": False})
def take_back(operator, rule):
    operator.run("iptables -D <rule...>", each={"rule": rule}, on="router")


# --------------------------------------------------------------------------------------------------- infrastructure


@acts(
    "Failover to a passive region or availability zone if available (DR plan).",
    promises={"region": "west", "goal": True},
)
@acts(
    "Where the DR plan has a passive region or availability zone, move over to it.",
    promises={"region": "west", "goal": True},
)
def fail_over(operator):
    for node in ("api1", "api2"):
        operator.run(f"curl -fsS -X PUT -d '{REGION_WEST}' http://{node}:8001/release", on=INSIDE)


# ---------------------------------------------------------------------------------------------------- symptoms

REQUESTS = 'haproxy_frontend_http_requests_total{proxy="platform"}'


@signal("Sudden drop in request volume or spike in latency.")
@signal("All at once fewer requests arrive, or latency jumps up.")
def drop_or_spike():
    """Against what was usual just before: half of the requests, or four times the latency of a route and over 0.5 s."""
    seconds, count = "http_request_duration_seconds_sum", "http_request_duration_seconds_count"
    late, usual = (
        f'sum by (route) (rate({seconds}{{job="api"}}{when})) / sum by (route) (rate({count}{{job="api"}}{when}))'
        for when in ("[10m]", "[30m] offset 10m")
    )
    return PromQL(
        f"sum(rate({REQUESTS}[10m])) < 0.5 * sum(rate({REQUESTS}[30m] offset 10m))"
        f" or ({late} > 4 * ({usual}) and {late} > 0.5)"
    )
