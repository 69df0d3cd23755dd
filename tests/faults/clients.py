"""64 clients, each body its own, each answer held against the model."""

from __future__ import annotations

import http.client
import itertools
import threading

from tests.support.model import expected, regressor
from tests.support.server import Server, wait_until

CLIENTS = 64


class Clients:
    """Threads that ask again as soon as they were answered; use as a context manager, then read `lost()`.

    A body that was with two workers as they died is refused for a while (it may be what killed them), so no body
    comes twice. `attempts`: how often a request whose connection was cut is sent in all; botocore's default is 5.
    """

    def __init__(self, server: Server, endpoint: str, *, attempts: int = 1) -> None:
        self._server = server
        self._path = f"/endpoints/{endpoint}/invocations"
        self._attempts = attempts
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        self.answers: dict[str, str] = {}
        self.refused: list[str] = []
        self.cut = 0
        """Connections that ended between a request and its answer."""

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)
            assert not thread.is_alive(), "a client is stuck"

    @property
    def tried(self) -> int:
        return len(self.answers) + len(self.refused)

    def more(self, count: int) -> None:
        """Wait until `count` further requests were answered."""
        goal = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= goal, f"{count} more answers; {self.refused[:3]}", timeout_s=90)

    def lost(self) -> list[str]:
        """Requests that were refused or cut off, and answers that are not the model's."""
        rows = list(self.answers)
        right = expected(regressor(), "\n".join(rows)) if rows else []
        wrong = [
            f"{row}: {self.answers[row]} for {value}"
            for row, value in zip(rows, right, strict=True)
            if abs(float(self.answers[row]) - value) > 1e-5
        ]
        return [*self.refused, *wrong]

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=65)
        while not self._stop.is_set():
            row = f"0.5,{next(self._numbers) % 4096 / 1024 - 2},{next(self._numbers)},0.125"
            problem = self._ask(connection, row)
            if problem is not None:
                self.refused.append(problem)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, row: str) -> str | None:
        problem = ""
        for _ in range(self._attempts):
            try:
                connection.request("POST", self._path, row, {"Content-Type": "text/csv"})
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                self.cut += 1
                connection.close()
                continue
            if answer.status != 200:
                return f"{answer.status} {text}"
            self.answers[row] = text
            return None
        return problem
