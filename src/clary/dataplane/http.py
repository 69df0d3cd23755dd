"""HTTP/1.1 on one client connection: whole requests out, answers back in the order of the requests.

No task and no timer per request: bytes come in by callback, answers go out by callback, and one sweep a tenth of a
second looks after every deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from clary.dataplane.answers import with_connection_close
from clary.dataplane.app import App
from clary.dataplane.chunked import ChunkedBody, too_large
from clary.dataplane.exchange import Exchange
from clary.dataplane.head import Head, Refused, check_first_line, parse_head
from clary.dataplane.limits import Limits

__all__ = ("Connection", "Exchange")

_HEAD, _BODY, _CHUNKED, _STUCK, _DISCARD = range(5)
_END = b"\r\n\r\n"
_CR = 13
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_app", "_body", "_buffer", "_chunks", "_final", "_head", "_missing", "_pending", "_phase", "_private",
        "_since_s", "_waiting_to_move", "_write_paused", "transport",
    )  # fmt: skip

    def __init__(self, app: App, *, private: bool = False) -> None:
        """`private`: on the router's own socket, where control forwards; nothing is handed over from there."""
        self._app = app
        self._private = private
        self._phase = _HEAD
        self._buffer = b""
        self._head: Head | None = None
        self._chunks: list[bytes] = []
        self._missing = 0
        self._body: ChunkedBody | None = None
        self._pending: deque[Exchange] = deque()
        self._since_s = app.now_s
        self._write_paused = False
        self._waiting_to_move = False
        self._final = False
        self.transport: asyncio.Transport | None = None

    @property
    def peer(self) -> str:
        """The client's address; empty on the router's own socket, and once the client is gone."""
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        return str(peer[0]) if isinstance(peer, tuple) else ""

    # -- callbacks of the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._app.connections.add(self)
        if len(self._app.connections) > self._app.limits.connections_max:
            self._refuse(Refused(503, "ServiceUnavailable", "Too many connections are open. Try again later."))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._app.connections.discard(self)
        self.transport = None
        self._phase = _DISCARD
        for exchange in self._pending:
            exchange.connection = None
            if exchange.response is None:
                self._app.abandoned(exchange)
        self._pending.clear()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._since_s = self._app.now_s

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._pending and self._pending[0].begun:
            self._app.resumed(self._pending[0])
        self._resume()

    def eof_received(self) -> bool:
        """The client will send no more, but may still wait for answers."""
        if self._pending and self._phase != _DISCARD:
            self._last()
            return True
        return False

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == _HEAD:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            else:
                self._since_s = self._app.now_s
        elif phase == _STUCK:
            self._buffer += data
            return
        elif phase == _DISCARD:
            return
        try:
            self._consume(data)
        except Refused as refused:
            self._refuse(refused)
        except Exception as error:
            self._refuse(self._app.unexpected(error))

    # -- reading -------------------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> None:
        """Take requests from `data` until it is used up or the connection must wait; Refused."""
        at, end = 0, len(data)
        app = self._app
        while at < end:
            if self._phase == _HEAD:
                if data[at] == _CR and data.startswith(b"\r\n", at):
                    at += 2  # RFC 9112 2.2: empty lines before a request line are ignored
                    continue
                stop = data.find(_END, at)
                if stop < 0:
                    self._keep_head(data[at:])
                    return
                raw = data[at : stop + 4]
                head = app.heads.get(raw)
                if head is None:
                    head = self._parse(raw)
                if head.name is None and not self._private:
                    self._move(data[at:])
                    return
                at = stop + 4
                missing = head.body_bytes
                if not head.chunked and end - at >= missing:
                    body = data[at : at + missing]
                    at += missing
                else:
                    self._open_body(head, all_read=at == end)
                    continue
            elif self._phase == _BODY:
                taken = data[at : at + self._missing]
                self._chunks.append(taken)
                self._missing -= len(taken)
                at += len(taken)
                if self._missing:
                    return
                head, body = cast(Head, self._head), b"".join(self._chunks)
                self._chunks = []
            elif self._phase == _CHUNKED:
                chunked = cast(ChunkedBody, self._body)
                data = chunked.feed(data[at:])
                at, end = 0, len(data)
                if not chunked.done:
                    return
                head, body = cast(Head, self._head), chunked.body()
            else:
                if self._phase == _STUCK:
                    self._buffer = data[at:]
                return
            self._phase = _HEAD
            self._whole(head, body)
        if self._phase == _HEAD:
            self._since_s = app.now_s

    def _keep_head(self, partial: bytes) -> None:
        if len(partial) > self._app.limits.head_bytes_max:
            raise Refused(431, "RequestHeaderFieldsTooLarge", _head_limit(self._app.limits))
        check_first_line(partial)
        self._buffer = partial

    def _parse(self, raw: bytes) -> Head:
        app = self._app
        if len(raw) > app.limits.head_bytes_max:
            raise Refused(431, "RequestHeaderFieldsTooLarge", _head_limit(app.limits))
        head = parse_head(raw)
        if head.name is not None and head.body_bytes > app.limits.body_bytes_max:
            raise too_large(app.limits.body_bytes_max)
        # A signed head never comes twice; one that names no endpoint is control's.
        repeats = head.name is not None and "authorization" not in head.headers
        if repeats and len(raw) <= app.limits.head_cached_bytes_max:
            if len(app.heads) >= app.limits.heads_cached_max:
                app.heads.clear()
            app.heads[raw] = head
        return head

    def _open_body(self, head: Head, *, all_read: bool) -> None:
        self._head = head
        self._since_s = self._app.now_s
        if head.chunked:
            self._phase = _CHUNKED
            self._body = ChunkedBody(self._app.limits.body_bytes_max)
        else:
            self._phase = _BODY
            self._missing = head.body_bytes
        if head.expect_continue and all_read:
            interim = Exchange(self)
            self._pending.append(interim)
            interim.answer(_CONTINUE)

    def _whole(self, head: Head, body: bytes) -> None:
        """One whole request: ask for its answer."""
        result = self._app.request(self, head, body)
        if type(result) is bytes:
            exchange = Exchange(self)
            exchange.response = result
        else:
            exchange = cast(Exchange, result)
        pending = self._pending
        pending.append(exchange)
        if not head.keep_alive or self._app.stopping:
            exchange.keep_alive = False
            self._phase = _DISCARD
        elif self._write_paused or (len(pending) > 1 and self._enough(body)):
            self._stick()
        if exchange.response is not None:
            self.answered(exchange)

    # -- writing -------------------------------------------------------------------------------------------------------

    def answered(self, exchange: Exchange) -> None:
        """An exchange has its response: write it and those behind it that wait for nothing else."""
        pending = self._pending
        transport = self.transport
        if not pending or pending[0] is not exchange or transport is None:
            return
        while pending and (response := pending[0].response) is not None:
            done = pending.popleft()
            if done.begun:
                transport.write(b"".join(done.parts or ()) + response)
            else:
                transport.write(response if done.keep_alive else with_connection_close(response))
            if not done.keep_alive:
                self._finish()
                return
        if pending and pending[0].begun:
            self._catch_up(pending[0], transport)
        if self._phase == _STUCK:
            self._resume()
        if self._final and not pending and not self._buffer:
            self._finish()

    def parted(self, exchange: Exchange, data: bytes) -> bool:
        """An exchange has some of its response; whether the client takes more now."""
        transport = self.transport
        if transport is None:
            return True
        if self._pending and self._pending[0] is exchange:
            transport.write(data)
            return not self._write_paused
        exchange.parts = [*(exchange.parts or ()), data]
        return False

    def _catch_up(self, exchange: Exchange, transport: asyncio.Transport) -> None:
        """It is this exchange's turn: write the parts it has, have the others sent."""
        transport.write(b"".join(exchange.parts or ()))
        exchange.parts = None
        if not self._write_paused:
            self._app.resumed(exchange)

    def _refuse(self, refused: Refused) -> None:
        """Answer in turn, read no further request."""
        exchange = Exchange(self)
        exchange.keep_alive = False
        exchange.response = self._app.refusal(refused)
        self._phase = _DISCARD
        self._buffer = b""
        self._chunks = []
        self._body = None
        self._since_s = self._app.now_s
        self._pending.append(exchange)
        self.answered(exchange)

    def _finish(self) -> None:
        """All is written. Say so, and drop what still comes for a while: closing at once with bytes unread would
        reset the connection and could take the last answer with it (RFC 9112 9.6)."""
        self._phase = _DISCARD
        self._since_s = self._app.now_s
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _last(self) -> None:
        """After what is pending, close."""
        self._final = True
        if self._phase != _STUCK:
            self._phase = _DISCARD

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _enough(self, body: bytes) -> bool:
        """Whether no request is read after the one with this body, until one is answered."""
        limits = self._app.limits
        return len(self._pending) >= limits.pipelined_max or len(body) > limits.pipelined_bytes_max

    def _stick(self) -> None:
        """Too much in flight: read no further until some of it is answered."""
        self._phase = _STUCK
        if self.transport is not None:
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._phase != _STUCK or self._write_paused or self.transport is None:
            return
        if self._waiting_to_move:
            self._try_move()
            return
        if len(self._pending) >= self._app.limits.pipelined_max:
            return
        self._phase = _HEAD
        self._since_s = self._app.now_s
        data, self._buffer = self._buffer, b""
        try:
            self._consume(data)
        except Refused as refused:
            self._refuse(refused)
        except Exception as error:
            self._refuse(self._app.unexpected(error))
        # Read again also while discarding: the end of the connection must be seen.
        if self._phase != _STUCK and self.transport is not None:
            self.transport.resume_reading()

    def _move(self, read: bytes) -> None:
        """This connection is control's from here on: once every answer before is out, hand it over."""
        self._buffer = read
        self._waiting_to_move = True
        self._stick()
        self._try_move()

    def _try_move(self) -> None:
        transport = self.transport
        if transport is None or self._pending:
            return
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(0.002, self._try_move)
            return
        self._waiting_to_move = False
        refusal = self._app.hand_over(transport, self._buffer)
        self._buffer = b""
        if refusal is None:
            self._phase = _DISCARD
            transport.abort()
            return
        exchange = Exchange(self)
        exchange.keep_alive = False
        exchange.response = refusal
        self._phase = _DISCARD
        self._pending.append(exchange)
        self.answered(exchange)
        transport.resume_reading()

    def sweep(self, now_s: float) -> None:
        """Close what has waited too long."""
        limits, waited_s = self._app.limits, now_s - self._since_s
        transport = self.transport
        if transport is None:
            return
        if self._write_paused:
            if waited_s > limits.body_s:
                transport.abort()
        elif self._pending or self._phase == _STUCK:
            return
        elif self._phase == _DISCARD:
            if waited_s > limits.linger_s:
                transport.abort()
        elif self._phase == _HEAD and not self._buffer:
            if waited_s > limits.idle_s:
                transport.close()
        elif waited_s > (limits.head_s if self._phase == _HEAD else limits.body_s):
            what = "head" if self._phase == _HEAD else "body"
            self._refuse(Refused(408, "RequestTimeout", f"The {what} of the request did not arrive in time."))

    def stop(self) -> None:
        """The router stops: close now if nothing is in flight, else after it."""
        idle = self._phase == _HEAD and not self._buffer and not self._pending
        if idle and self.transport is not None:
            self.transport.close()
        elif self._pending:
            self._last()


def _head_limit(limits: Limits) -> str:
    return f"The head of the request exceeds {limits.head_bytes_max} bytes."
