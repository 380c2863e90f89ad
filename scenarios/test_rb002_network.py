"""RB-002 Network and connectivity issues: what breaks, and how it is recovered."""

from faults.packet_filter import Dropped, HostUnreachable, Rejected
from faults.toxics import Bandwidth, CutData, Down, Latency, ResetPeer, Timeout
from runlab.scenario import Scenario

RUNBOOK = "RB-002"

EVERYWHERE, OUTSIDE = ("inside", "outside"), ("outside",)


class Incident:
    """What every scenario here looks at: whether those who come by are served."""

    needs = frozenset({"provider", "redis", "visitors", "canary"})
    asked = "/projects", "/suggestions"
    fails = EVERYWHERE

    def arrange(self, network):
        network.configure()

    def trigger(self):
        """Nothing has to happen: users and visitors come by all the time."""

    def goal(self, network):
        return network.serves(*self.asked)

    def truth(self):
        return {"fails": list(self.fails)}

    def innocents(self):
        return {"fails": [side for side in EVERYWHERE if side not in self.fails]}


# -------------------------------------------------------------------------------------------------------- firewall


class Firewall(Incident):
    """Somebody has changed a rule."""

    cause = "Firewall/Security Group"
    procedure = "Immediate Actions", "Connectivity/Firewall"


class TestOneZoneIsShutOff(Firewall, Scenario):
    """The database is closed to one zone, in the three ways in which a packet filter can."""

    faults = (
        Rejected("zone-a", "data"),
        HostUnreachable("zone-a", "data"),
        Dropped("zone-a", "data"),
    )


class TestOnePortIsShutOff(Firewall, Scenario):
    """The database's port alone is closed to one zone: what else is sent there arrives."""

    faults = Rejected("zone-a", "data", port=5432), Dropped("zone-a", "data", port=5432)


class UsersAreShutOut(Firewall):
    """Those outside do not come through to the load balancer any more; whoever is inside is served."""

    needs = Firewall.needs | {"canary-ping"}
    fails = OUTSIDE


class TestUsersAreShutOut(UsersAreShutOut, Scenario):
    """A rule between users and load balancer holds back everything."""

    faults = Rejected("users", "edge"), Dropped("users", "edge")

    def premise(self, network):
        return {"the canary outside tells of it by HTTP and by ping": network.told_by() == {"http", "ping"}}


class TestUsersAreShutOutOfOnePort(UsersAreShutOut, Scenario):
    """A rule holds back what they ask the load balancer for, and nothing else."""

    faults = Rejected("users", "edge", port=8000)

    def premise(self, network):
        return {"the canary outside tells of it by HTTP, and not by ping": network.told_by() == {"http"}}


# -------------------------------------------------------------------------------------------------- infrastructure


class ProviderFails(Incident):
    """What is to be had from the active region of a provider is not to be had any more."""

    cause = "Infrastructure"
    procedure = "Immediate Actions", "Infrastructure"
    asked = ("/suggestions",)

    def state(self, network):
        return {"region": network.region()}


class TestProviderFails(ProviderFails, Scenario):
    """It refuses, hangs up at once or after half a second, or stops in the middle of an answer."""

    faults = Down("east"), ResetPeer("east"), Timeout("east", timeout_ms=500), CutData("east", limit_bytes=1000)


class TestProviderIsSlow(ProviderFails, Scenario):
    """It answers, so that nobody is told of an error; but nobody has the patience."""

    detected_by = "signal"
    faults = Latency("east", latency_ms=1100, jitter_ms=50), Bandwidth("east", rate_kb_per_s=2)
