"""Clary's own API: who may call it, and what it answers. Real store, real signatures."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from clary.control.desk import Desk
from clary.control.keys import KeyRing, ensure_root
from clary.edge.admin import Admin, AdminOptions, routes
from clary.edge.aws.errors import DISK_FULL
from clary.kit.clock import MICROS, VirtualClock
from clary.kit.ids import CountingIds
from clary.kit.sigv4 import Key, sign
from clary.store.seal import load_seal
from clary.store.sqlite import SqliteStore

HOST = "127.0.0.1:8430"


class Client:
    """Signs and sends to the routes."""

    def __init__(self, admin: Admin, ring: KeyRing, root: Key, clock: VirtualClock) -> None:
        self.admin, self.ring, self.root, self.clock = admin, ring, root, clock
        self.ready = True
        self.options = admin.options

    async def call(
        self,
        method: str,
        path: str,
        members: object = None,
        key: Key | None = None,
        service: str = "clary",
        late_s: float = 0,
        **headers: str,
    ) -> tuple[int, dict[str, object]]:
        body = b"" if members is None else members if isinstance(members, bytes) else json.dumps(members).encode()
        key = key or self.root
        signed = sign(
            method=method,
            path=path,
            query="",
            headers={"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}},
            payload=body,
            key_id=key.key_id,
            secret=key.secret,
            region="us-east-1",
            service=service,
            now_s=self.clock.now_us() / MICROS - late_s,
        )
        return await self.send(method, path, body, signed)

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, object]]:
        admin = replace(self.admin, ready=lambda: self.ready, options=self.options)
        transport = httpx.ASGITransport(Starlette(routes=routes(admin)))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as http:
            answer = await http.request(method, path, content=body, headers=headers)
        await self.ring.refresh(self.admin.desk, self.admin.seal)
        return answer.status_code, answer.json()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "clary.db")
    desk, seal, ring = Desk(store, clock, CountingIds()), load_seal(tmp_path / "secrets" / "kek"), KeyRing()
    root = await ensure_root(desk, seal, tmp_path / "secrets" / "root.json", "123456789012", "us-east-1")
    await ring.refresh(desk, seal)
    options = AdminOptions(version="9.9", auth=False, hosts=())
    yield Client(Admin(desk, seal, ring, lambda: True, options), ring, root, clock)
    store.close()


async def test_health_says_when_it_is_ready(client: Client) -> None:
    assert await client.send("GET", "/clary/health") == (200, {"status": "ok", "version": "9.9", "auth": "none"})
    client.ready = False
    assert await client.send("GET", "/clary/health") == (503, {"status": "starting", "version": "9.9", "auth": "none"})


async def test_a_key_is_made_listed_and_revoked(client: Client) -> None:
    await client.clock.advance(1)  # keys are listed by age; root's and this one would share an instant
    status, made = await client.call("POST", "/clary/api/keys", {"name": "ci"})
    assert status == 201
    assert made["arn"] == "arn:aws:iam::123456789012:user/ci"
    status, listed = await client.call("GET", "/clary/api/keys")
    assert [(key["name"], key["status"]) for key in listed["keys"]] == [("root", "active"), ("ci", "active")]  # type: ignore[attr-defined]
    assert str(made["secret"]) not in json.dumps(listed)
    assert await client.call("DELETE", f"/clary/api/keys/{made['key_id']}") == (
        200,
        {"key_id": made["key_id"], "status": "revoked"},
    )
    status, again = await client.call("DELETE", f"/clary/api/keys/{made['key_id']}")
    assert (status, again["code"]) == (404, "NotFound")


async def test_only_a_root_key_may_call(client: Client) -> None:
    _, made = await client.call("POST", "/clary/api/keys", {"name": "ci"})
    other = Key(str(made["key_id"]), str(made["secret"]), "123456789012", str(made["arn"]))
    wrong = client.root._replace(secret="wrong")
    unknown = client.root._replace(key_id="CLARYNOBODY")
    for key, code in (
        (other, "AccessDenied"),
        (wrong, "InvalidSignatureException"),
        (unknown, "UnrecognizedClientException"),
    ):
        status, answer = await client.call("GET", "/clary/api/keys", key=key)
        assert (status, answer["code"]) == (403, code)
    status, answer = await client.send("GET", "/clary/api/keys", headers={"host": HOST})
    assert (status, answer["code"]) == (401, "MissingAuthenticationToken")
    status, answer = await client.call("GET", "/clary/api/keys", service="sagemaker")
    assert (status, answer["code"]) == (403, "AccessDenied")
    status, answer = await client.call("GET", "/clary/api/keys", late_s=3600)
    assert (status, answer["code"]) == (403, "RequestTimeTooSkewed")


async def test_a_changed_body_is_a_bad_signature(client: Client) -> None:
    signed = sign(
        method="POST",
        path="/clary/api/keys",
        query="",
        headers={"host": HOST},
        payload=b'{"name": "a"}',
        key_id=client.root.key_id,
        secret=client.root.secret,
        region="us-east-1",
        service="clary",
        now_s=client.clock.now_us() / MICROS,
    )
    status, answer = await client.send("POST", "/clary/api/keys", b'{"name": "b"}', signed)
    assert (status, answer["code"]) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}])
async def test_a_foreign_page_is_refused_even_with_a_signature(client: Client, headers: dict[str, str]) -> None:
    status, answer = await client.call("GET", "/clary/api/keys", **headers)
    assert (status, answer["code"]) == (403, "AccessDenied")
    client.options = replace(client.options, auth=True)
    assert (await client.call("GET", "/clary/api/keys", **headers))[0] == 200


@pytest.mark.parametrize("body", [b"", b"[1]", b"{}", b'{"name": 1}', b'{"name": "a", "more": 1}', {"name": "a b"}])
async def test_what_is_no_request_is_refused_with_words(client: Client, body: object) -> None:
    status, answer = await client.call("POST", "/clary/api/keys", body)
    assert (status, answer["code"]) == (400, "ValidationException")


async def test_a_large_body_is_refused(client: Client) -> None:
    status, answer = await client.call("POST", "/clary/api/keys", b" " * 20_000)
    assert (status, answer["code"]) == (413, "RequestTooLarge")


async def test_the_root_key_cannot_be_revoked(client: Client) -> None:
    status, answer = await client.call("DELETE", f"/clary/api/keys/{client.root.key_id}")
    assert status == 400
    assert "root key" in str(answer["message"])


async def test_a_full_disk_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(client.admin.desk.store, "write", full)
    status, answer = await client.call("POST", "/clary/api/keys", {"name": "ann"})
    assert (status, answer) == (500, {"code": "InternalFailure", "message": DISK_FULL})
