"""`Expect: 100-continue`: a client that asked is told, or its connection ends with the answer.

botocore sends it with every upload of a file. Where the answer comes without `100 Continue`, most of its versions keep
a wrong idea of the connection: the next upload on it takes the status line for a header and waits, until its timeout,
for a body without length (AWSConnection.request left `response_class` alone). A closed connection is forgotten whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Receive, Send


def expecting(headers: Mapping[str, str], receive: Receive, send: Send) -> tuple[Receive, Send]:
    """`receive` and `send` of a request, so that the rule above holds. `headers` by lower-case name."""
    if headers.get("expect", "").lower() != "100-continue":
        return receive, send
    # The server writes `100 Continue` when the body is first asked for.
    told = False
    first: Message | None = None

    async def receiving() -> Message:
        nonlocal told, first
        told = True
        if first is not None:
            message, first = first, None
            return message
        return await receive()

    async def sending(message: Message) -> None:
        nonlocal told, first
        if message["type"] == "http.response.start" and not told:
            told = True
            if headers.get("content-length") == "0":
                first = await receive()
            else:
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
        await send(message)

    return receiving, sending
