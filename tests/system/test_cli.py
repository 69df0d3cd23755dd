"""The command line against a real server: deploy to delete, keys, logs, exec, and the demo itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from clary.cli.exit_codes import Exit
from tests.support import model
from tests.support.model import ROW, expected, pack
from tests.support.server import Server, wait_until

ROOT = Path(__file__).parents[2]
REGRESSOR = model.regressor()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "model.json"
    REGRESSOR.save_model(path)
    return path


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    return {**clean, "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}", **more}


def clary(
    server: Server, *argv: str, stdin: str = "", timeout_s: float = 100, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `clary` as a user of that server's machine does."""
    return subprocess.run(
        [sys.executable, "-m", "clary.cli.main", *argv],
        env=environment(CLARY_HOME=str(server.home), **env),
        cwd=server.home,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_from_a_file_to_an_endpoint_and_back_to_nothing(server: Server, model_file: Path) -> None:
    made = document(clary(server, "deploy", str(model_file), "--name", "Fraud", "--json"))
    assert made["status"] == "InService"
    assert made["url"] == f"{server.url}/endpoints/Fraud/invocations"

    asked = clary(server, "invoke", "Fraud", stdin=f"{ROW}\n{ROW}\n")
    assert [float(line) for line in asked.stdout.split()] == expected(REGRESSOR, f"{ROW}\n{ROW}")
    answer = document(clary(server, "invoke", "Fraud", "--data", ROW, "--target-variant", "AllTraffic", "--json"))
    assert answer["variant"] == "AllTraffic"

    listed = document(clary(server, "list", "--json"))
    assert [(e["name"], e["status"]) for e in listed["endpoints"]] == [("Fraud", "InService")]  # type: ignore[attr-defined]
    described = document(clary(server, "describe", "fraud", "--json"))
    assert described["version"] == 1
    assert described["variants"][0]["artifact"] == made["artifact"]  # type: ignore[index]

    again = document(clary(server, "deploy", str(model_file), "--name", "fraud", "--json"))
    assert (again["name"], again["version"]) == ("Fraud", 2)

    deleted = document(clary(server, "delete", "Fraud", "--yes", "--json"))
    kinds = [thing["kind"] for thing in deleted["deleted"]]  # type: ignore[attr-defined]
    assert kinds == ["endpoint", *["config", "model", "artifact"] * 2]
    for kind in ("endpoints", "configs", "models"):
        assert document(clary(server, "list", kind, "--json")) == {kind: []}
    bucket = str(made["artifact"]).split("/")[2]
    assert "Contents" not in server.client("s3").list_objects_v2(Bucket=bucket)
    assert clary(server, "invoke", "Fraud", "--data", ROW).returncode == Exit.NOT_FOUND


def test_a_folder_and_an_archive_are_deployed_too(server: Server, tmp_path: Path) -> None:
    raw = bytes(REGRESSOR.save_raw("ubj"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "xgboost-model").write_bytes(raw)
    (tmp_path / "model.tar.gz").write_bytes(pack({"xgboost-model": raw}))
    for name in ("folder", "model.tar.gz"):
        document(clary(server, "deploy", str(tmp_path / name), "--name", "shape", "--json"))
        assert float(clary(server, "invoke", "shape", "--data", ROW).stdout) == expected(REGRESSOR, ROW)[0]
        assert clary(server, "delete", "shape", "--yes").returncode == 0


def test_delete_leaves_alone_what_deploy_did_not_make(server: Server, regressor: Path) -> None:
    server.host("by-hand", regressor.read_bytes())
    deleted = document(clary(server, "delete", "by-hand", "--yes", "--json"))
    assert deleted == {"deleted": [{"kind": "endpoint", "name": "by-hand"}]}
    assert document(clary(server, "list", "models", "--json"))["models"]


def test_a_model_that_cannot_load_fails_in_seconds_with_a_reason_and_is_replaced_by_the_next(
    server: Server, model_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "model.json"
    broken.write_bytes(model_file.read_bytes()[:-200] + b"}")
    failed = clary(server, "deploy", str(broken), "--name", "mended")
    assert failed.returncode == Exit.FAILED, failed.stderr
    assert "is Failed: " in failed.stderr
    mended = clary(server, "deploy", str(model_file), "--name", "mended")
    assert mended.returncode == 0, mended.stderr
    assert "Replacing mended" in mended.stderr
    assert clary(server, "delete", "mended", "--yes").returncode == 0
    assert "mended" not in str(document(clary(server, "list", "configs", "--json")))


def test_a_bad_request_is_the_models_error(server: Server, model_file: Path) -> None:
    document(clary(server, "deploy", str(model_file), "--name", "picky", "--json"))
    refused = clary(server, "invoke", "picky", "--data", "1,2,3,4,5,6,7")
    assert refused.returncode == Exit.MODEL
    assert "Received client error (400) from primary" in refused.stderr
    assert clary(server, "invoke", "picky", "--data", ROW, "--target-variant", "no").returncode == Exit.NOT_FOUND
    logs = clary(server, "logs", "picky")
    assert logs.returncode == 0, logs.stderr
    assert clary(server, "logs", "no-such").returncode == Exit.NOT_FOUND
    assert clary(server, "delete", "picky", "--yes").returncode == 0


def test_a_log_is_followed_until_the_reader_leaves(server: Server, model_file: Path) -> None:
    document(clary(server, "deploy", str(model_file), "--name", "talker", "--json"))
    with subprocess.Popen(
        [sys.executable, "-m", "clary.cli.main", "logs", "talker", "-f"],
        env=environment(CLARY_HOME=str(server.home)),
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        folder = wait_until(lambda: list(server.home.glob("logs/endpoints/*/AllTraffic/*.log")), "a replica's log")
        assert following.stdout.readline()
        with max(folder, key=lambda path: path.stat().st_mtime).open("a") as log:
            log.write("a line of the model's own\n")
        wait_until(lambda: "a line of the model's own" in following.stdout.readline(), "the line")
        following.send_signal(2)
        assert following.wait(10) == Exit.INTERRUPTED
    assert clary(server, "delete", "talker", "--yes").returncode == 0


def test_keys_are_made_used_and_revoked(server: Server) -> None:
    made = document(clary(server, "keys", "create", "ci", "--json"))
    listed = document(clary(server, "keys", "list", "--json"))
    assert ("ci", "active") in [(key["name"], key["status"]) for key in listed["keys"]]  # type: ignore[attr-defined]
    own = {"AWS_ACCESS_KEY_ID": str(made["key_id"]), "AWS_SECRET_ACCESS_KEY": str(made["secret"])}
    denied = clary(server, "keys", "list", "--url", server.url, **own)
    assert denied.returncode == Exit.DENIED
    assert clary(server, "keys", "revoke", str(made["key_id"])).returncode == 0
    assert clary(server, "keys", "revoke", str(made["key_id"])).returncode == Exit.NOT_FOUND


def test_plain_boto3_works_under_exec_and_under_a_profile(server: Server, tmp_path: Path) -> None:
    code = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    done = clary(server, "exec", "--", sys.executable, "-c", code)
    assert done.stdout == "123456789012\n", done.stderr
    files = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    assert clary(server, "env", "--profile", "local", **files).returncode == 0
    plain = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(AWS_PROFILE="local", **files),
        capture_output=True,
        text=True,
        check=False,
    )
    assert plain.stdout == "123456789012\n", plain.stderr


def test_doctor_knows_the_running_server(server: Server) -> None:
    checks = document(clary(server, "doctor", "--json"))["checks"]
    assert {check["name"]: check["state"] for check in checks}["server"] == "ok"  # type: ignore[attr-defined]


def test_a_private_server_comes_and_goes_with_its_command(tmp_path: Path) -> None:
    code = (
        "import boto3, os, pathlib\n"
        "assert boto3.client('sagemaker').list_models()['Models'] == []\n"
        "print(os.environ['CLARY_HOME'])\n"
        "raise SystemExit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "clary.cli.main", "exec", "--serve", "--", sys.executable, "-c", code],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    home = done.stdout.strip()
    assert not Path(home).parent.exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if home in " ".join(p.info["cmdline"] or [])]


def test_a_private_server_is_gone_when_exec_is_ended_while_it_starts(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "clary.cli.main", "exec", "--serve", "--", "sleep", "1000"],
        env=environment(TMPDIR=str(tmp_path)),
        stderr=subprocess.DEVNULL,
    ) as running:
        wait_until(lambda: psutil.Process(running.pid).children(), "the server's process")
        family = psutil.Process(running.pid).children(recursive=True)
        running.terminate()
        assert running.wait(60) == 128 + 15
    assert not list(tmp_path.iterdir())
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_command_under_a_private_server_gets_the_signal_first(tmp_path: Path) -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\n"
        "signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "clary.cli.main", "exec", "--serve", "--", sys.executable, "-c", code],
        env=environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.terminate()
        assert running.wait(60) == 7
    assert not list(tmp_path.iterdir())


def test_the_command_line_signs_for_a_server_with_auth(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "home").mkdir()
    with Server(tmp_path / "home", "--auth", "sigv4") as strict:
        document(clary(strict, "deploy", str(model_file), "--name", "guarded", "--json"))
        assert float(clary(strict, "invoke", "guarded", "--data", ROW).stdout) == expected(REGRESSOR, ROW)[0]
        assert clary(strict, "logs", "guarded").returncode == 0
        made = document(clary(strict, "keys", "create", "ci", "--json"))
        own = {"AWS_ACCESS_KEY_ID": str(made["key_id"]), "AWS_SECRET_ACCESS_KEY": str(made["secret"])}
        assert clary(strict, "invoke", "guarded", "--data", ROW, "--url", strict.url, **own).returncode == 0
        assert clary(strict, "keys", "revoke", str(made["key_id"])).returncode == 0
        wait_until(
            lambda: (
                clary(strict, "list", "--url", strict.url, **own).returncode == Exit.DENIED
                and clary(strict, "invoke", "guarded", "--data", ROW, "--url", strict.url, **own).returncode
                == Exit.DENIED
            ),
            "the revoked key is refused",
        )
        wrong = {**own, "AWS_ACCESS_KEY_ID": "CLARYNOBODY"}
        assert clary(strict, "list", "--url", strict.url, **wrong).returncode == Exit.DENIED


def test_the_demo_holds_on_some_rows(server: Server) -> None:
    done = clary(server, "exec", "--", sys.executable, str(ROOT / "demo" / "cmapss.py"), "--rows", "1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 1,000 predictions equal those in process" in done.stdout
    assert "left: 0 endpoints, 0 configurations, 0 models, 0 buckets" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_scales_out_and_in(server: Server) -> None:
    argv = ("exec", "--", sys.executable, str(ROOT / "demo" / "cmapss.py"), "--rows", "1000", "--scale")
    done = clary(server, *argv, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 in service, 3 wanted" in done.stdout
    assert "none failed" in done.stdout
    assert "left: 0 endpoints, 0 configurations, 0 models, 0 buckets, 0 targets, 0 alarms" in done.stdout


def test_the_demo_without_a_server_fails_at_once_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo" / "cmapss.py"), "--rows", "1"],
        env=environment(
            AWS_ENDPOINT_URL="http://127.0.0.1:9",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
            AWS_MAX_ATTEMPTS="1",
        ),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "The demo failed: EndpointConnectionError" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
