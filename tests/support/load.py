"""Clients that never stop asking, and remember every answer."""

from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, field

from tests.support.server import Server


@dataclass
class Load:
    """`clients` threads, each asking again as soon as it was answered; use as a context manager.

    A connection that the server closes or loses is opened anew and counted: that is no failed request unless the
    request had been sent.
    """

    server: Server
    endpoint: str
    body: str
    clients: int = 8
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    """Requests that were refused, answered with an error, or cut off."""

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=65)
        path = f"/endpoints/{self.endpoint}/invocations"
        while not self._stop.is_set():
            try:
                connection.request("POST", path, self.body, {"Content-Type": "text/csv"})
                answer = connection.getresponse()
                text = answer.read()
                problem = None if answer.status == 200 else f"{answer.status} {text!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                connection.close()
            with self._lock:
                if problem is None:
                    self.answered += 1
                else:
                    self.lost.append(problem)
        connection.close()
