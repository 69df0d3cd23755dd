"""The door of the AWS APIs on a real uvicorn server, for tests that use boto3 as client."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.session
import uvicorn
from botocore.config import Config
from starlette.requests import Request
from starlette.responses import Response

from clary.edge.aws.door import S3, Door, DoorOptions
from clary.edge.aws.operation import Call, Operation
from clary.kit import sigv4
from clary.kit.clock import Clock, SystemClock
from clary.kit.ids import Ids, SystemIds

ACCOUNT = "123456789012"
REGION = "eu-west-3"
ANN = sigv4.Key(
    "AKIAANN0000000000000",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "210987654321",
    "arn:aws:iam::210987654321:user/ann",
)


class OneKey:
    """`ANN` and nobody else."""

    def lookup(self, key_id: str, token: str = "") -> sigv4.Key | None:
        return ANN if key_id == ANN.key_id and not token else None


@dataclass
class EchoS3:
    """Remembers what the door hands over, and answers with the first header's fate."""

    calls: list[tuple[Call, str, sigv4.Proof | None]] = field(default_factory=list)

    async def __call__(self, call: Call, request: Request, proof: sigv4.Proof | None) -> Response:
        self.calls.append((call, request.url.path, proof))
        await request.body()
        return Response(b"", 200, {"etag": '"0"'})


@dataclass(frozen=True)
class Served:
    """A running door."""

    url: str
    clients: list[Any] = field(default_factory=list)

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A bare request on a connection of its own: status, headers by lower-case name, body."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def client(self, service: str, key: sigv4.Key | None = None, **config: Any) -> Any:
        """A boto3 client; by default with a key that the door has never heard of."""
        client = boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key.key_id if key else "clary",
            aws_secret_access_key=key.secret if key else "clary",
            config=Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, **config),
        )
        self.clients.append(client)
        return client

    def speaking(self, service: str, protocol: str, region: str = REGION) -> Any:
        """A client that speaks `protocol`: today's boto3 prefers json where older ones know query only."""
        session = botocore.session.Session()
        loader = session.get_component("data_loader")
        original = loader.load_service_model

        def load(name: str, kind: str, api_version: str | None = None) -> Any:
            model = original(name, kind, api_version)
            if kind == "service-2":
                model = {**model, "metadata": {**model["metadata"], "protocol": protocol, "protocols": [protocol]}}
                if protocol == "query":
                    model["metadata"].pop("awsQueryCompatible", None)
            return model

        loader.load_service_model = load
        client = session.create_client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="clary",
            aws_secret_access_key="clary",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )
        self.clients.append(client)
        return client


@contextlib.contextmanager
def serve_asgi(app: Any, host: str = "127.0.0.1") -> Iterator[Served]:
    """An ASGI application on a free port of a real uvicorn server, in a thread."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        started = threading.Event()
        startup = server.startup

        async def announcing(*arguments: Any, **named: Any) -> None:
            await startup(*arguments, **named)
            started.set()

        server.startup = announcing  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert started.wait(20), "uvicorn did not start"
        served = Served(f"http://{host}:{port}")
        try:
            yield served
        finally:
            for client in served.clients:
                client.close()
            server.should_exit = True
            thread.join(20)


@contextlib.contextmanager
def serve_door(
    operations: Iterable[Operation],
    *,
    auth: bool = False,
    s3: S3 | None = None,
    keys: sigv4.Keys | None = None,
    clock: Clock | None = None,
    ids: Ids | None = None,
    hosts: tuple[str, ...] = (),
    body_s: float = 60.0,
) -> Iterator[Served]:
    """A `Door` for these operations."""
    door = Door(
        operations=operations,
        keys=keys or OneKey(),
        s3=s3 or EchoS3(),
        clock=clock or SystemClock(),
        ids=ids or SystemIds(),
        options=DoorOptions(auth=auth, account=ACCOUNT, region=REGION, hosts=hosts, body_s=body_s),
    )
    with serve_asgi(door) as served:
        yield served


def operation(
    service: str, name: str, answer: Mapping[str, Any] | Exception, seen: list[Any] | None = None, **more: Any
) -> Operation:
    """An operation that records its members and answers (or raises) what it is told."""

    async def handler(call: Call, members: Mapping[str, Any]) -> Mapping[str, Any]:
        if seen is not None:
            seen.append((call, members))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Operation(service, name, handler, **{"fields": {}, **more})
