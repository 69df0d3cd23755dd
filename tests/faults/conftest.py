"""A server to break, and the book of what was tried and what was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.book import Line, write
from tests.support.model import packed_regressor
from tests.support.server import Server

ENDPOINT = "steady"
BOOK = pytest.StashKey[list[Line]]()
Tally = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-reliability", metavar="PAGE", default=None, help="write the table of PAGE from this run")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page = session.config.getoption("--write-reliability", default=None)
    lines = session.config.stash.get(BOOK, [])
    if page and exitstatus == 0 and lines:
        write(Path(page), lines)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Enter one line into the book and hold it to no loss: `tally(fault, tried, lost, note)`."""

    def enter(fault: str, tried: int, lost: list[str], note: str = "") -> None:
        request.config.stash.setdefault(BOOK, []).append(Line(fault, tried, len(lost), note))
        print(f"{fault}: {tried} tried, {len(lost)} lost; {note}")
        assert lost == [], lost[:5]

    return enter


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one endpoint of two replicas."""
    with Server(tmp_path_factory.mktemp("home")) as server:
        server.host(ENDPOINT, packed_regressor(), instances=2)
        yield server


def error_of(call: Any, **members: Any) -> dict[str, Any]:
    """The error of a call, empty where it went well."""
    try:
        call(**members)
    except ClientError as error:
        return error.response["Error"]  # type: ignore[return-value]
    return {}
