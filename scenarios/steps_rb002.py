"""How the sentences of RB-002 are carried out, in each edition's own wording."""

import re
from collections import Counter

from runlab.console import Facts, Output
from runlab.model import PromQL
from runlab.steps import acts, advises, finds, signal

INSIDE, OUTSIDE = "control", "users"
ZONES = ("zone-a", "zone-b")

NAMES = {
    "east.provider.example": "east",
    "db.platform.internal": "db",
    "sessions.platform.internal": "sessions-db",
}
"""What the platform's machines call others by, and who that is in the inventory of hosts."""
ANSWER = r"(?m)(?:^\S+\s+\d+\s+IN\s+A\s+|^Address: )([\d.]+)$"
NO_ANSWER = r"(?:<<>> DiG .* (?=\S+\n(?:(?!ANSWER SECTION)[\s\S])*$)|can't find )([^\s:]+)"
ASKED = r"(?:<<>> DiG .* |Name:\t|can't find )([^\s:]+)"
"""How dig and nslookup put it."""
FAILED = r"(?m)^(\w+) (?:000|5\d\d)$"
"""How a request that went wrong is told, see `look`."""
LAST_HOP = r"(?s).*\n *\d+(?:\.\|--)? +([\d.]+)(?= )"
"""How traceroute and mtr print it."""
NEEDED = (("provider-east", 8000), ("db", 5432), ("sessions-db", 6379))
PATHS = (*((zone, *target) for target in NEEDED for zone in ZONES), ("users", "lb", 8000))
"""Who has to reach whom, and at which port."""
AT_ONCE = "-q 1 -w 0.5 -m 3"
"""Has traceroute send one packet a hop, and wait for half a second."""
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
        *until_one_fails(look(operator, "inside", "api1", on=INSIDE)),
        *until_one_fails(look(operator, "inside", "api2", on=INSIDE)),
        *until_one_fails(look(operator, "outside", "lb", on=OUTSIDE, times=8)),
    ]
    return Facts(fails=together(*looks).group(FAILED))


def look(operator, side, service, on, times=1):
    """Requests that need the database, and others that need the session store and the provider.

    Whoever comes in by a load balancer is served well by every other replica: so ask there more than once.
    """
    ask, told = "curl -sS -m 1", f'-w "\\n{side} %{{http_code}}\\n"'
    for _ in range(times):
        yield operator.run(f"{ask} {told} -o /dev/null http://{service}:8000/projects?limit=1", on=on)
    begun = operator.run(f"{ask} {told} -X POST http://{service}:8000/sessions", on=on)
    yield begun
    session = begun.group(r'"session": ?"([^"]+)"')
    suggestions = f'{ask} {told} -o /dev/null -H "X-Session: <session>" http://{service}:8000/suggestions'
    for _ in range(times):
        yield operator.run(suggestions, each={"session": session}, on=on)


def until_one_fails(looks):
    """The outputs up to the first that tells of a failure: from there, nothing more is to be found out."""
    for output in looks:
        yield output
        if output.group(FAILED).values:
            return


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
def flush_caches(operator):
    for zone in ZONES:
        reload_names(operator, zone)


def reload_names(operator, on):
    """Have the name server there forget what it has from others, and read again what it keeps itself."""
    operator.run("pkill --signal HUP --pidfile /run/dnsmasq.pid", on=on)


@finds("Verify DNS records using {first:code} or {second:code}.")
@finds("First of all ask for the records with {first:code} or {second:code}, and see whether they are right.")
def look_up(operator, first, second):
    """Each name as each zone gets it, in one by the first program, in the other by the second."""
    wrong = [
        *(told for name in NAMES for told in astray(operator, f"{first} +time=1 +tries=1", name, on="zone-a")),
        *(told for name in NAMES for told in astray(operator, f"{second} -timeout=1 -retry=0", name, on="zone-b")),
    ]
    told = together(*wrong)
    return Facts(address=told.group(ANSWER), unresolved=told.group(NO_ANSWER), name=told.group(ASKED))


def astray(operator, program, name, on):
    """What the program says there of the name; nothing if that is what the inventory says of the host."""
    told = operator.run(f"{program} {name}", on=on)
    right = operator.run(f"getent ahostsv4 {NAMES[name]}").group(r"(?m)^([\d.]+) ")
    return [] if set(told.group(ANSWER)) == set(right) else [told]


@acts(
    "Put a wrong record right where it is kept; only then empty the DNS cache of each node or container that is"
    " affected.",
    fills=("address",),
    promises={"names": "right"},
)
def put_right(operator, address):
    """Where the server itself gives none of the wrong addresses, its records are right, and only caches are not."""
    kept = together(*(operator.run(f"dig +time=1 +tries=1 {name}", on=INSIDE) for name in NAMES))
    if set(kept.group(ANSWER)) & set(address):
        operator.run("dd if=/run/dns/records.kept of=/run/dns/records status=none", on=INSIDE)
        reload_names(operator, INSIDE)
    flush_caches(operator)


@acts(
    "Temporarily switch to backup DNS resolvers (e.g., 8.8.8.8) if internal DNS is failing.",
    fills=("name",),
    promises={"names": "right"},
)
def backup_resolver(operator, name):  # noqa: ARG001 -- it is failing if a name was found that is not right
    go_over(operator, "backup")


@acts(
    "While a name server gives no answer, go over to another one that knows the internal names as well; a public one"
    " (8.8.8.8, for example) knows none of them.",
    fills=("unresolved",),
    promises={"names": "right"},
)
def second_resolver(operator, unresolved):  # noqa: ARG001 -- a name server gives none if a name was found without
    go_over(operator, "second")


def go_over(operator, reserve):
    for zone in ZONES:
        operator.run(f"cp /run/resolv.conf.{reserve} /etc/resolv.conf", on=zone)


# ------------------------------------------------------------------------------------------------------- firewall


@finds("Use {first:code} or {second:code} to identify where packets are dropping.")
def where_packets_stop(operator, first, second):
    """The last hop that answers on each path that does not lead to its end: by one program, and again by the other."""
    traces = [trace for source, target, _ in PATHS for trace in lost(operator, first, second, source, target)]
    return Facts(hop=together(*traces).group(LAST_HOP))


@finds(
    "Find the place where packets get lost with {first:code} or {second:code}; where a rule holds back one port alone,"
    " only {by_tcp:code} with {tcp:code} and {to_port:code} (TCP, to that port) finds it."
)
def where_packets_to_a_port_stop(operator, first, second, by_tcp, tcp, to_port):
    """The same, and on each path on which those packets come to its end once more by TCP, to the port that is asked."""
    traces = []
    for source, target, port in PATHS:
        stops = lost(operator, first, second, source, target)
        if not stops:
            trace = operator.run(f"{by_tcp} -n {tcp} {to_port} {port} {AT_ONCE} {target}", on=source)
            stops = [] if arrived(trace) else [trace]
        traces += stops
    return Facts(hop=together(*traces).group(LAST_HOP))


def lost(operator, first, second, source, target):
    """The traces of a path that does not lead to its end: by one program, and again by the other."""
    trace = operator.run(f"{first} -n {AT_ONCE} {target}", on=source)
    if arrived(trace):
        return []
    return [trace, operator.run(f"{second} -n -r -c 1 -i 0.1 -G 0.3 -m 3 {target}", on=source)]


def arrived(trace):
    """Whether the last hop is the one that was looked for, and no filter's mark stands behind it."""
    target, hops = trace.group(r"\(([\d.]+)\), \d+ hops"), trace.group(r"(?m)^ *\d+  ([\d.]+)  [\d.]+ ms$")
    return [*target] == [*hops][-1:]


@finds("Review recent Security Group or firewall rule changes.")
@finds("Look at what was changed lately in firewall rules or Security Groups.")
def review_rules(operator):
    """The latest change comes first."""
    rules = operator.run("iptables -S FORWARD", on="router")
    return Facts(rule=rules.group(r"\A(?:-[PN] .*\n)*-A (FORWARD .*)"))


@acts("Rollback recent network configuration changes.", fills=("rule",), promises={"fault": False})
def take_back(operator, rule):
    operator.run("iptables -D <rule...>", each={"rule": rule}, on="router")


@acts(
    "Where packets do get lost, take back what was changed lately in the network's configuration.",
    fills=("hop", "rule"),
    promises={"fault": False},
)
def take_back_where_packets_get_lost(operator, hop, rule):  # noqa: ARG001 -- it has to be found, no more
    """Where no such place was found, the latest change is another's, and does no harm."""
    take_back(operator, rule)


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


# ------------------------------------------------------------------------------------------------------- exhaustion

TO_A_PEER = r"(?m) ([\d.]+:\d+ +users:\(\(\S+?,pid=\d+)"
IN_VAIN = r"(?m) ([\d.]+:\d+) *$"
"""How ss puts who is connected to whom, with the program and without."""
FULL_LINE = r"(?m)^qdisc \S+ \S+ dev (\S+) .*\n.*\(dropped [1-9]"
LOOKS = 8
"""The last comes some 0.3 s after the first."""


@finds("On that machine, find the program that holds the most connections to one and the same peer: {connections:code}")
def holds_the_most(operator, connections):
    """Of those in the zones, since it is their programs that cannot connect."""
    listed = together(*(operator.run(connections, on=zone) for zone in ZONES))
    most = Counter(re.sub(" +", " ", it) for it in listed.group(TO_A_PEER)).most_common(1)
    return Facts(pid=listed.group(once("pid=", *(it.rpartition("=")[2] for it, _ in most))))


@finds(
    "On each machine behind the gateway, list the connections that are being opened in vain: {in_vain:code}."
    " Where there are some, find the program that holds those which stand to the same peer: {standing:code}"
)
def holds_those_to_the_peer(operator, in_vain, standing):
    listed = together(*(look for zone in ZONES for look in to_the_same_peer(operator, in_vain, standing, on=zone)))
    return Facts(pid=listed.group(once("pid=", *sorted(set(listed.group(r"pid=(\d+)"))))))


def to_the_same_peer(operator, in_vain, standing, on):
    """The connections from there that stand, for each peer to whom others are being opened."""
    tried = operator.run(in_vain, on=on)
    for peer in sorted(set(tried.group(IN_VAIN))):
        yield operator.run(standing, each={"peer": tried.group(once(" ", peer))}, on=on)


@acts("End that program: {command:code}", fills=("pid",), promises={"fault": False})
@acts(
    "End that program, and have patience: the gateway keeps its ports for some ten seconds more: {command:code}",
    fills=("pid",),
    promises={"fault": False},
    within_s=20.0,
)
def end_program(operator, command, pid):
    operator.run(command, each={"pid": pid})


@finds("Look how many ports each of the gateway's rules leaves: {rules:code}", lists=True)
def ports_of_rules(operator, rules):
    found = operator.run(rules, on="router")
    return Facts(rule=found.group(r"(?m)^-A (POSTROUTING .*--to-ports .*)$"))


@acts("Take the rule away that leaves too few: {command:code}", fills=("rule",), promises={"fault": False})
def more_ports(operator, command, rule):
    operator.run(command, each={"rule": rule}, on="router")


@finds(
    "On the router, find the line that throws packets away: {queues:code}. On the machine at its end, list twice how"
    " many bytes came in for each program, and find the one that got the most in between: {connections:code}"
)
def gets_the_most(operator, queues, connections):
    lines = operator.run(queues, on="router").group(FULL_LINE)
    looks, most = [], []
    for machine in lines:
        before, *_, after = (operator.run(connections, on=machine) for _ in range(LOOKS))
        looks.append(after)
        most += [pid for pid, _ in (received(after) - received(before)).most_common(1)]
    return Facts(line=lines, pid=together(*looks).group(once("pid=", *most)))


def received(look):
    """Bytes that came in for each program, by its pid."""
    counts = Counter()
    for line in look.group(r"(pid=\d+,.* bytes_received:\d+)"):
        counts[re.match(r"pid=(\d+)", line)[1]] += int(line.rpartition(":")[2])
    return counts


@finds("Find in the database the session for which others wait and which waits for nobody: {query:code}")
def for_whom_others_wait(operator, query):
    return Facts(pid=operator.sql(query).column("pid"))


@acts("End that session, if its work may be lost: {command:code}", fills=("pid",), promises={"fault": False})
def end_session(operator, command, pid):
    operator.sql(command, each={"pid": pid})


def once(before, *values):
    """Matches the last place alone in which each of the values stands behind `before`."""
    one = "|".join(re.escape(value) for value in values)
    return rf"(?s){before}({one})(?!\d)(?!.*{before}\1(?!\d))"


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
