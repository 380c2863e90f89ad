"""RB-002 Network and connectivity issues: what breaks, and how it is recovered."""

from faults.packet_filter import Dropped, HostUnreachable, Rejected
from faults.toxics import Bandwidth, CutData, Down, Latency, ResetPeer
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


# -------------------------------------------------------------------------------------------------- infrastructure


class ProviderFails(Incident):
    """What is to be had from the active region of a provider is not to be had any more."""

    cause = "Infrastructure"
    procedure = "Immediate Actions", "Infrastructure"
    asked = ("/suggestions",)

    def state(self, network):
        return {"region": network.region()}


class TestProviderFails(ProviderFails, Scenario):
    """It refuses, hangs up, or stops in the middle of an answer."""

    faults = Down("east"), ResetPeer("east"), CutData("east", limit_bytes=1000)


class TestProviderIsSlow(ProviderFails, Scenario):
    """It answers, so that nobody is told of an error; but nobody has the patience."""

    detected_by = "signal"
    faults = Latency("east", latency_ms=1500), Bandwidth("east", rate_kb_per_s=2)
