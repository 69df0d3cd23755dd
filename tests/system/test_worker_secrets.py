"""What a worker holds: credentials of its model's role that really work, and no secret of the server's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from clary.store.seal import load_seal
from tests.support.server import Server

ASK = (
    "import boto3; "
    "print(boto3.client('sts').get_caller_identity()['Arn'], boto3.client('s3').list_buckets()['Buckets'])"
)


def test_boto3_in_a_workers_environment_is_its_models_role(server: Server, regressor: Path) -> None:
    server.host("lent", regressor.read_bytes())
    table = json.loads((server.home / "run" / "processes.json").read_text())["processes"]
    (env,) = (row["env"] for row in table if row["kind"] == "worker")
    asked = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=True)
    assert asked.stdout.startswith("arn:aws:sts::123456789012:assumed-role/any/lent [{'Name': 'lent'")


def test_no_secret_of_the_server_enters_a_worker(server: Server) -> None:
    table = json.loads((server.home / "run" / "processes.json").read_text())["processes"]
    kek = (server.home / "secrets" / "kek").read_bytes()
    root = json.loads((server.home / "secrets" / "root.json").read_text())["secret"]
    seal = load_seal(server.home / "secrets" / "kek")
    derived = [seal.derive(purpose).hex() for purpose in ("sessions", "workers")]
    secrets = [root, kek.hex(), *derived, str(server.home / "secrets"), "clary.db"]
    held = [json.dumps(row) for row in table]
    (pid,) = server.pids_of("clary: worker")
    held.append(Path(f"/proc/{pid}/environ").read_bytes().decode("latin-1"))
    held += [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [text for text in held for secret in secrets if secret in text]
    server.client("sagemaker").delete_endpoint(EndpointName="lent")
