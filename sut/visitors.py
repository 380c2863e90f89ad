"""Users who open a session and ask for suggestions: `python -m sut.visitors`, with the variables of sut/users.py."""

from __future__ import annotations

from locust import constant_throughput, task

from sut.users import RecordedUser, stream

EACH_PER_S = 2.0


class Visitor(RecordedUser):
    """Opens a session, uses it ten times, and opens the next; also after a refusal, as people log in again."""

    wait_time = constant_throughput(EACH_PER_S)
    _session = ""
    _left = 0

    @task
    def go_on(self) -> None:
        if self._left:
            self._left -= 1
            self._suggest()
        else:
            self._open()

    def _open(self) -> None:
        answer = self.ask("POST", "/sessions", "/sessions", user="visitor")
        if answer.status_code == 201:
            self._session, self._left = answer.json()["session"], 10

    def _suggest(self) -> None:
        answer = self.ask("GET", "/suggestions", "/suggestions", headers={"X-Session": self._session})
        if answer.status_code == 401:
            self._left = 0


if __name__ == "__main__":
    stream(Visitor, EACH_PER_S)
