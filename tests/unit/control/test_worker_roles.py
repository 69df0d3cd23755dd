"""What a worker is lent, and to whom the page of credentials answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select
from starlette.applications import Starlette

from clary.control import models, training, worker_roles
from clary.control.worker_roles import Lender
from clary.domain.endpoint import VariantSpec
from clary.domain.errors import Invalid, NotFound
from clary.domain.model import Container, ModelSpec
from clary.domain.training import Phase, TrainingRecord
from clary.edge import worker_credentials
from clary.store.sessions import Sessions
from clary.store.tables import audit, replicas
from clary.store.training import note, unfinished
from tests.support.hosting import CALLER, IMAGE, Host
from tests.unit.domain.test_training import SPEC

ROLE = "arn:aws:iam::123456789012:role/service-role/models"
LENDER = Lender("http://127.0.0.1:8430", bytes(32))
SESSIONS = Sessions(bytes(32))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


async def replica(host: Host, role: str) -> str:
    """The uid of a replica of an endpoint whose model has that role."""
    from clary.control import endpoints

    spec = ModelSpec((Container(IMAGE, "xgboost", "1.7-1", "s3://b/k"),), role_arn=role)
    await models.create(host.desk, CALLER, "m", spec, {})
    await host.config("c", VariantSpec("v", "m", 1, "ml.m5.large"))
    await endpoints.create(host.desk, CALLER, "lender", "c", {})
    found = await endpoints.describe(host.desk, CALLER, "lender")
    row = {"uid": "REPLICA", "endpoint_uid": found.record.uid, "generation": 1, "variant": "v", "threads": 1}
    await host.store.write(lambda c: c.execute(insert(replicas).values(**row, address="", started_us=0)))
    return "REPLICA"


async def test_the_models_role_is_lent_in_the_endpoints_name_and_audited(host: Host) -> None:
    role, made = await worker_roles.lend(host.desk, SESSIONS, await replica(host, ROLE), "request-2")
    assert (role, made.arn) == (ROLE, "arn:aws:sts::123456789012:assumed-role/models/lender")
    rows = (await host.store.read(lambda c: c.execute(select(audit)).all()))[-1]
    assert (rows.action, rows.resource, rows.principal_arn) == ("AssumeRole", ROLE, "sagemaker.amazonaws.com")


@pytest.mark.parametrize("role", ["", "arn:aws:iam::999999999999:role/other", "arn:aws:iam::123456789012:user/ann"])
async def test_a_model_without_a_role_of_the_account_is_lent_nothing(host: Host, role: str) -> None:
    with pytest.raises(Invalid, match="is no role of account 123456789012"):
        await worker_roles.lend(host.desk, SESSIONS, await replica(host, role), "request-2")
    with pytest.raises(NotFound):
        await worker_roles.lend(host.desk, SESSIONS, "GONE", "request-2")


async def test_a_training_jobs_role_is_lent_until_it_has_ended(host: Host) -> None:
    await training.create(host.desk, CALLER, "forest", replace(SPEC, role_arn=ROLE), {})
    (job,) = await host.store.read(unfinished)
    role, made = await worker_roles.lend(host.desk, SESSIONS, job.uid, "request-2")
    assert (role, made.arn) == (ROLE, "arn:aws:sts::123456789012:assumed-role/models/forest")
    await host.store.write(lambda c: note(c, job, Phase.FAILED, TrainingRecord(), 1))
    with pytest.raises(NotFound):
        await worker_roles.lend(host.desk, SESSIONS, job.uid, "request-2")


async def test_the_page_wants_the_replicas_own_token_and_loopback(host: Host) -> None:
    uid = await replica(host, ROLE)
    app = Starlette(routes=worker_credentials.routes(worker_credentials.Counter(host.desk, SESSIONS, LENDER)))
    path, token = f"/clary/credentials/{uid}", {"authorization": LENDER.token(uid)}

    async def get(path: str, headers: dict[str, str], peer: str = "127.0.0.1", name: str = "127.0.0.1:8430") -> Any:
        way = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=way, base_url=f"http://{name}") as client:
            return await client.get(path, headers=headers)

    held = await get(path, token)
    assert held.status_code == 200
    assert set(held.json()) == {"RoleArn", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert SESSIONS.key_of(held.json()["AccessKeyId"], held.json()["Token"], set()) is not None
    for wrong in ({}, {"authorization": "x"}, {"authorization": LENDER.token("OTHER")}):
        assert (await get(path, wrong)).status_code == 403
    assert (await get(path, token, peer="10.0.0.9")).status_code == 403
    assert (await get(path, token, name="evil.example")).status_code == 403
    assert (await get("/clary/credentials/GONE", {"authorization": LENDER.token("GONE")})).status_code == 404


@pytest.mark.parametrize(
    ("url", "lends"), [("http://127.0.0.1:8430", True), ("http://[::1]:8430", True), ("http://10.1.2.3:8430", False)]
)
def test_a_workers_environment_leads_to_the_server(url: str, lends: bool) -> None:
    environment = Lender(url, b"k").environment("R", "eu-west-3")
    assert environment["AWS_ENDPOINT_URL"] == url
    assert environment["AWS_REGION"] == environment["SAGEMAKER_REGION"] == "eu-west-3"
    assert ("AWS_CONTAINER_CREDENTIALS_FULL_URI" in environment) is lends
    assert environment == Lender(url, b"k").environment("R", "eu-west-3")
