"""The log view shows an endpoint's lines to those who may see them, as text or as a page, once or as they come."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from clary.edge import logview
from clary.edge.logview import LogView, LogViewOptions
from clary.kit import sigv4
from clary.kit.clock import SystemClock
from clary.kit.threads import Threads
from tests.support.door import ANN, OneKey, Served, serve_asgi

ACCOUNT = "123456789012"
ENDPOINTS = {
    (ACCOUNT, "churn"): {"us-east-1": "01E"},
    (ACCOUNT, "twice"): {"us-east-1": "01E", "eu-west-1": "02E"},
    (ANN.account, "churn"): {"us-east-1": "03E"},
}


async def lookup(account: str, name: str) -> dict[str, str]:
    return ENDPOINTS.get((account, name.lower()), {})


def write(home: Path, uid: str, variant: str, replica: str, *lines: str) -> Path:
    path = home / "logs" / "endpoints" / uid / variant / f"{replica}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        log.writelines(f"{line}\n" for line in lines)
    return path


def event(second: int, text: str) -> str:
    ts = f"2026-01-01T00:00:{second:02d}.000Z"
    return json.dumps({"ts": ts, "level": "info", "event": text, "request_id": "", "replica": "R", "load_ms": 3})


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[LogView, Served]]:
    threads = Threads("test", 2)
    options = LogViewOptions(auth=False, account=ACCOUNT, region="us-east-1", followers_max=1)
    view = LogView(Path(), lookup, OneKey(), SystemClock(), threads, options)
    with serve_asgi(Starlette(routes=logview.routes(view))) as served:
        yield view, served
    threads.close()


@pytest.fixture
def view(running: tuple[LogView, Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogView:
    view, _ = running
    monkeypatch.setattr(view, "logs", tmp_path / "logs")
    return view


@pytest.fixture
def served(running: tuple[LogView, Served], view: LogView) -> Served:
    return running[1]


def test_lines_of_all_replicas_in_order_of_time(served: Served, tmp_path: Path) -> None:
    write(tmp_path, "01E", "A", "01REPLICAAAAA1", event(1, "First."), "printed after the first", event(4, "Fourth."))
    write(tmp_path, "01E", "B", "01REPLICABBBB2", "printed at once", event(2, "Second."))
    write(tmp_path, "02E", "A", "01OTHER", "of another endpoint")
    status, headers, body = served.get("/clary/logs/Churn")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode().splitlines() == [
        "[B/ABBBB2] printed at once",
        "[A/AAAAA1] 2026-01-01T00:00:01.000Z info First. load_ms=3",
        "[A/AAAAA1] printed after the first",
        "[B/ABBBB2] 2026-01-01T00:00:02.000Z info Second. load_ms=3",
        "[A/AAAAA1] 2026-01-01T00:00:04.000Z info Fourth. load_ms=3",
    ]
    assert b"First." not in served.get("/clary/logs/churn/B")[2]
    assert served.get("/clary/logs/churn?lines=1")[2].count(b"\n") == 2
    assert served.get("/clary/logs/churn?lines=0")[2] == b""


def test_lines_as_they_stand_in_the_files(served: Served, tmp_path: Path) -> None:
    write(tmp_path, "01E", "A", "R", event(1, "First."), "raw")
    _, headers, body = served.get("/clary/logs/churn?format=json", {"accept": "text/html"})
    assert headers["content-type"].startswith("application/x-ndjson")
    assert body.decode() == f"{event(1, 'First.')}\nraw\n"


def test_a_page_escapes_what_a_model_prints(served: Served, tmp_path: Path) -> None:
    write(tmp_path, "01E", "A", "R", "<script>alert(1)</script>")
    _, headers, body = served.get("/clary/logs/churn", {"accept": "text/html,application/xhtml+xml;q=0.9"})
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert b"&lt;script&gt;alert(1)" in body
    assert b"<script" not in body
    assert served.get("/clary/logs/churn", {"accept": "*/*"})[1]["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/clary/logs/nobody", 404, "NotFound"),
        ("/clary/logs/churn?region=eu-west-1", 404, "NotFound"),
        ("/clary/logs/churn?lines=-1", 400, "ValidationException"),
        ("/clary/logs/churn?lines=10001", 400, "ValidationException"),
        ("/clary/logs/churn?lines=%C2%B2", 400, "ValidationException"),
    ],
)
def test_refusals(served: Served, path: str, status: int, code: str) -> None:
    got, _, body = served.get(path)
    assert (got, json.loads(body)["code"]) == (status, code)


@pytest.mark.parametrize("variant", ["..", "%2e%2e", "..%2f..", "*", "A%2F..%2FA", "%2Fetc"])
def test_no_name_is_a_path(served: Served, tmp_path: Path, variant: str) -> None:
    write(tmp_path, "01E", "A", "R", "mine")
    (tmp_path / "logs" / "endpoints" / "secret.log").write_text("secret\n")
    _, _, body = served.get(f"/clary/logs/churn/{variant}")
    assert b"secret" not in body
    assert b"mine" not in body


def test_the_region_where_several_hold_the_name(served: Served, tmp_path: Path) -> None:
    write(tmp_path, "01E", "A", "R", "of the east")
    write(tmp_path, "02E", "A", "R", "of the west")
    assert b"east" in served.get("/clary/logs/twice")[2]
    assert b"west" in served.get("/clary/logs/twice?region=eu-west-1")[2]


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_no_page_of_another_site_reads_logs(served: Served, headers: dict[str, str]) -> None:
    assert served.get("/clary/logs/churn", headers)[0] == 403


def test_following_shows_lines_and_replicas_as_they_come(
    served: Served, view: LogView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write(tmp_path, "01E", "A", "R1", "one")
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/clary/logs/churn?follow=1")
    answer = connection.getresponse()
    assert answer.readline() == b"[A/R1] one\n"
    write(tmp_path, "01E", "A", "R1", "two")
    assert answer.readline() == b"[A/R1] two\n"
    with log.open("r+") as rotated:
        rotated.truncate(0)
    write(tmp_path, "01E", "A", "R1", "three, after the file was truncated")
    assert answer.readline() == b"[A/R1] three, after the file was truncated\n"
    write(tmp_path, "01E", "A", "R2", "of a new replica")
    assert answer.readline() == b"[A/R2] of a new replica\n"
    assert served.get("/clary/logs/churn?follow=1")[0] == 503
    monkeypatch.setattr(view, "stopping", lambda: True)
    assert answer.readline() == b""
    connection.close()


def test_with_auth_only_a_key_of_the_account_may_look(
    served: Served, tmp_path: Path, view: LogView, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "01E", "A", "R", "not hers")
    write(tmp_path, "03E", "A", "R", "hers")
    monkeypatch.setattr(view, "options", LogViewOptions(auth=True, account=ACCOUNT, region="us-east-1"))
    path, host = "/clary/logs/churn", served.url.removeprefix("http://")

    def signed(secret: str, key_id: str = ANN.key_id) -> dict[str, str]:
        return sigv4.sign(
            method="GET", path=path, query="", headers={"host": host}, payload=b"", key_id=key_id, secret=secret,
            region="us-east-1", service="clary", now_s=SystemClock().now_us() / 10**6,
        )  # fmt: skip

    assert served.get(path)[0] == 401
    assert served.get(path, {"authorization": "AWS4-HMAC-SHA256 nonsense"})[0] == 403
    assert served.get(path, signed("wrong"))[0] == 403
    assert served.get(path, signed(ANN.secret, "AKIANOBODY"))[0] == 403
    status, _, body = served.get(path, signed(ANN.secret))
    assert (status, body) == (200, b"[A/R] hers\n")
