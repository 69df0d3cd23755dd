"""One request of a connection, until its answer is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clary.dataplane.http import Connection


class Exchange:
    """One request whose answer is still to come; written when all before it are.

    An answer may come in parts, each by `part`, the last of them by `answer`.
    """

    __slots__ = ("begun", "connection", "keep_alive", "parts", "response")

    def __init__(self, connection: Connection | None) -> None:
        self.connection = connection
        """None once the client is gone."""
        self.keep_alive = True
        self.begun = False
        """Some of the answer was given by `part`."""
        self.parts: list[bytes] | None = None
        """Parts whose turn has not come; None where there are none."""
        self.response: bytes | None = None

    def part(self, data: bytes) -> bool:
        """Give some of the response, its head included, and more to come; whether the client takes more now.

        Where it does not, `App.resumed` tells when it does again. Dropped where the client went away.
        """
        self.begun = True
        return self.connection is None or self.connection.parted(self, data)

    def answer(self, response: bytes) -> None:
        """Give the whole response; dropped where the client went away."""
        self.response = response
        if self.connection is not None:
            self.connection.answered(self)
