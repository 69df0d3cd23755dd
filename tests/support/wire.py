"""A door for the SageMaker resources on a real server in the test's own event loop; clients run on threads."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import boto3
import uvicorn
from botocore.config import Config

from clary.control.keys import KeyRing
from clary.edge.aws.door import Door, DoorOptions
from clary.edge.aws.operation import Call, Members, Operation
from clary.edge.aws.resources import endpoint_configs, endpoints, models, tags
from clary.edge.aws.resources.endpoints import HoldOptions
from clary.edge.aws.spec import Spec
from clary.kit.ids import SystemIds
from tests.support.door import EchoS3
from tests.support.hosting import SCOPE, Host

Result = TypeVar("Result")
AT_ONCE = HoldOptions(long_poll=False)
SPEC = Spec()
"""Loaded once: the model of SageMaker takes a third of a second."""


@dataclass
class Wire:
    """A running door, and what went through it."""

    host: Host
    port: int
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Operation and user agent of each."""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each call."""

    def client(self) -> Any:
        """A boto3 client for SageMaker. Blocking: use through `threaded`."""
        return boto3.client(
            "sagemaker",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=SCOPE.region,
            aws_access_key_id="CLARYTEST",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=40),
        )

    async def threaded(self, work: Callable[[Any], Result]) -> Result:
        """Run `work(client)` on a thread."""

        def run() -> Result:
            client = self.client()
            try:
                return work(client)
            finally:
                client.close()

        return await asyncio.to_thread(run)

    async def send(self, operation: str, members: Mapping[str, Any]) -> tuple[int, Any]:
        """A bare request, as the JSON protocol has it: status and the body as it stands on the wire."""
        scope = f"CLARYTEST/20310105/{SCOPE.region}/sagemaker/aws4_request"
        headers = {
            "X-Amz-Target": f"SageMaker.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Date": "20310105T000000Z",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}",
        }

        def send() -> tuple[int, Any]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request("POST", "/", json.dumps(members), headers)
                answer = connection.getresponse()
                body = answer.read()
                return answer.status, json.loads(body) if body else None
            finally:
                connection.close()

        return await asyncio.to_thread(send)


@asynccontextmanager
async def serving(host: Host, hold: HoldOptions = AT_ONCE) -> AsyncIterator[Wire]:
    """The SageMaker resources of a host behind a door."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    wire = Wire(host, listener.getsockname()[1])
    resources = (
        *models.operations(host.desk),
        *endpoint_configs.operations(host.desk),
        *endpoints.operations(host.desk, hold),
        *tags.operations(host.desk),
    )
    door = Door(
        operations=[_counted(operation, wire) for operation in resources],
        keys=KeyRing(),
        s3=EchoS3(),
        clock=host.clock,
        ids=SystemIds(),
        options=DoorOptions(auth=False, account=SCOPE.account, region=SCOPE.region),
        spec=SPEC,
    )
    server = uvicorn.Server(uvicorn.Config(door, lifespan="off", log_config=None, access_log=False))
    server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]
    # Listening from here on: a client that is faster than the server waits in its backlog.
    listener.listen()
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield wire
    finally:
        server.should_exit = True
        await running
        listener.close()


class _NoSignals:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def _no_signals() -> _NoSignals:
    return _NoSignals()


def _counted(operation: Operation, wire: Wire) -> Operation:
    async def handler(call: Call, members: Members) -> Any:
        wire.calls.append((operation.name, call.user_agent))
        wire.called.set()
        return await operation.handler(call, members)

    return Operation(operation.service, operation.name, handler, operation.fields, operation.notes)
