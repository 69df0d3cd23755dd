"""Tags of resources, by ARN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clary.control import models, tags
from clary.domain.errors import Invalid, LimitExceeded, NotFound, NotServed
from clary.domain.principal import Scope
from tests.support.hosting import CALLER, Host

ARN = "arn:aws:sagemaker:us-east-1:123456789012:"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


@pytest.mark.parametrize("resource", ["model/e", "endpoint-config/e", "endpoint/e", "endpoint/E"])
async def test_tags_come_and_go(host: Host, resource: str) -> None:
    await host.endpoint("E")
    assert await tags.list_tags(host.desk, CALLER, ARN + resource) == {}
    await tags.add(host.desk, CALLER, ARN + resource, {"b": "1", "a": "2"})
    assert await tags.add(host.desk, CALLER, ARN + resource, {"b": "3"}) == {"a": "2", "b": "3"}
    await tags.remove(host.desk, CALLER, ARN + resource, ["a", "absent"])
    assert await tags.list_tags(host.desk, CALLER, ARN + resource) == {"b": "3"}


async def test_the_fifty_first_is_refused(host: Host) -> None:
    await host.endpoint("e")
    await tags.add(host.desk, CALLER, ARN + "model/e", {str(index): "" for index in range(50)})
    with pytest.raises(LimitExceeded):
        await tags.add(host.desk, CALLER, ARN + "model/e", {"more": ""})


async def test_what_is_not_there_is_refused(host: Host) -> None:
    await host.endpoint("e")
    for arn in (ARN + "model/absent", ARN.replace("us-east-1", "us-east-2") + "model/e"):
        with pytest.raises(NotFound):
            await tags.list_tags(host.desk, CALLER, arn)
    with pytest.raises(NotFound):
        await tags.list_tags(host.desk, replace(CALLER, scope=Scope("210987654321", "us-east-1")), ARN + "model/e")
    with pytest.raises(NotServed):
        await tags.list_tags(host.desk, CALLER, ARN + "processing-job/e")
    with pytest.raises(Invalid):
        await tags.list_tags(host.desk, CALLER, "arn:aws:s3:::bucket")


async def test_a_deleted_resource_leaves_no_tags_for_the_next_of_its_name(host: Host) -> None:
    await host.endpoint("e")
    await tags.add(host.desk, CALLER, ARN + "model/e", {"a": "1"})
    await models.remove(host.desk, CALLER, "e")
    await host.model("e", "s3://b/k")
    assert await tags.list_tags(host.desk, CALLER, ARN + "model/e") == {}
