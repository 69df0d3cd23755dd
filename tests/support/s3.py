"""The S3 door behind the real door, on a real uvicorn server, with signatures verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from clary.edge.aws.s3.door import S3Door
from clary.edge.aws.s3.service import S3Options
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.objects.store import ObjectStore
from tests.support.door import ANN, Served, serve_door


@dataclass(frozen=True)
class S3Server:
    """A running object store and what serves it."""

    served: Served
    store: ObjectStore
    s3: Any
    """A boto3 client of region us-east-1, path-style, without retries."""

    def client(self, region: str = "us-east-1", **config: Any) -> Any:
        settings = {"s3": {"addressing_style": "path"}, **config}
        client = boto3.client(
            "s3",
            endpoint_url=self.served.url,
            region_name=region,
            aws_access_key_id=ANN.key_id,
            aws_secret_access_key=ANN.secret,
            config=Config(retries={"total_max_attempts": 1}, **settings),
        )
        self.served.clients.append(client)
        return client


@contextlib.contextmanager
def serve_s3(home: Path, *, auth: bool = True, options: S3Options | None = None) -> Iterator[S3Server]:
    clock, ids = SystemClock(), SystemIds()
    store = ObjectStore(home / "buckets", clock, ids)
    threads = Threads("objects", 8)
    try:
        with serve_door((), auth=auth, s3=S3Door(store, threads, options), clock=clock, ids=ids) as served:
            server = S3Server(served, store, None)
            yield S3Server(served, store, server.client())
    finally:
        threads.close()
        store.close()


@contextlib.contextmanager
def refused(code: str, status: int | None = None) -> Iterator[dict[str, Any]]:
    """Asserts that the block ends in a ClientError of this code; gives its response, filled in at the end."""
    answer: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield answer
    answer.update(caught.value.response)
    assert answer["Error"]["Code"] == code, answer["Error"]
    if status is not None:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
