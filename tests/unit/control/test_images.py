"""Images of the user's own: fixed by digest, found by URI, refused where they cannot serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clary.control import images
from clary.domain.errors import Invalid, NotFound
from clary.domain.model import ServerSpec
from tests.support.hosting import CALLER, Host

SPEC = ServerSpec(("/usr/bin/python3", "app.py"), "/srv/app")
ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


async def test_the_same_command_is_the_same_image_and_another_one_another(host: Host) -> None:
    first = await images.add(host.desk, CALLER, "app", SPEC)
    assert await images.add(host.desk, CALLER, "app", SPEC) == first
    await host.clock.advance(1)
    second = await images.add(host.desk, CALLER, "app", replace(SPEC, route="/predict"))
    assert [image.uri for image in await images.list_images(host.desk, CALLER)] == [second.uri, first.uri]
    for uri in (first.uri, f"{ECR}/{first.uri}"):
        assert await images.find(host.desk, CALLER, uri) == first
    assert await images.find(host.desk, CALLER, "clary/app:latest") == second
    assert await images.remove(host.desk, CALLER, "app") == 2
    with pytest.raises(Invalid, match=r"There is no image 'clary/app:latest'\. Add it: clary images add"):
        await images.find(host.desk, CALLER, "clary/app:latest")
    with pytest.raises(NotFound):
        await images.remove(host.desk, CALLER, "app")
    assert (await images.add(host.desk, CALLER, "app", SPEC)).uri == first.uri


async def test_clarys_own_and_others_images_are_left_alone(host: Host) -> None:
    for uri in ("clary/onnx:1", f"{ECR}/sagemaker-xgboost:1.7-1", "nonsense"):
        assert await images.find(host.desk, CALLER, uri) is None
    other = replace(CALLER, scope=replace(CALLER.scope, account="999999999999"))
    await images.add(host.desk, CALLER, "app", SPEC)
    assert await images.list_images(host.desk, other) == []


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("App", SPEC, "The name 'App'"),
        ("onnx", SPEC, "an image of Clary's own"),
        ("a", replace(SPEC, command=()), "1 to 256 words"),
        ("a", replace(SPEC, command=("",)), "A word of the command"),
        ("a", replace(SPEC, command=("a\0b",)), "A word of the command"),
        ("a", replace(SPEC, route="predict"), "The route 'predict' is not a path"),
        ("a", replace(SPEC, ping="/a b"), "The ping '/a b' is not a path"),
        ("a", replace(SPEC, folder="srv"), "not an absolute path"),
        ("a", replace(SPEC, env={"A=B": "c"}), "holds a character"),
    ],
)
async def test_what_cannot_serve_is_refused(host: Host, name: str, spec: ServerSpec, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        await images.add(host.desk, CALLER, name, spec)
