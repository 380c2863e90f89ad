"""How the sentences of RB-009 are carried out."""

from runlab.console import Facts
from runlab.model import UsersSay
from runlab.steps import acts, advises, finds, signal


@finds("Find the session for which the others wait: {query:code}")
def blocking_session(operator, query):
    return Facts(pid=operator.sql(query).column("pid"))


@acts(
    "End that session, which takes its change back: {command:code}",
    fills=("pid",),
    promises={"fault": False},
)
def end_session(operator, command, pid):
    operator.sql(command, each={"pid": pid})


@advises(
    "Ask its owner to make the change a migration.",
    who="the session's owner",
    why="only they know what the change was for",
)
def make_it_a_migration(operator): ...


@signal("A page takes seconds to load, or does not load at all.")
def slow_page():
    return UsersSay("one request waited for over 1.5 s", lambda users: users.longest_wait_s > 1.5)
