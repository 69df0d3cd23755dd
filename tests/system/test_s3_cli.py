"""The AWS CLI, unmodified, against a real server's object store: mb, cp, sync, mv, rm, rb, presign."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server

LARGE = bytes(range(256)) * (20 * 4096)
"""20 MiB: more than the CLI's 8 MB threshold, so it goes in parts."""


CLI = """
import json, sys
from awscli.clidriver import create_clidriver
for line in sys.stdin:
    status = create_clidriver().main(json.loads(line))
    sys.stderr.flush()
    print(f"\\n@@@ {status}", flush=True)
"""
"""The whole CLI, command after command in one process: starting Python is what takes its time."""


@pytest.fixture
def aws(server: Server, tmp_path: Path) -> Iterator[Any]:
    """Runs `aws ARGS...`; its output. Fails for a status other than `status`."""
    key = json.loads((server.home / "secrets" / "root.json").read_text())
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": key["key_id"],
        "AWS_SECRET_ACCESS_KEY": key["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "PYTHONWARNINGS": "ignore",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-c", CLI]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=env, cwd=tmp_path, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(*args: str, status: int = 0) -> str:
            process.stdin.write(json.dumps(args) + "\n")
            process.stdin.flush()
            said = ""
            for line in process.stdout:
                if line.startswith("@@@ "):
                    assert line == f"@@@ {status}\n", said
                    return said.removesuffix("\n")
                said += line
            raise AssertionError(said)

        yield run
        process.stdin.close()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_working_day(aws: Any, server: Server, tmp_path: Path) -> None:
    files = {"a.csv": b"1,2\n", "deep/er/b é+#.txt": b"text", "large.bin": LARGE, "empty": b""}
    for name, content in files.items():
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # S3 keeps whole seconds: a file that is as new as its copy would be sent again.
        os.utime(path, (1_700_000_000, 1_700_000_000))

    assert "make_bucket: day" in aws("s3", "mb", "s3://day")
    aws("s3", "cp", "--recursive", "local", "s3://day/copied/", "--exclude", "empty", "--quiet")
    assert aws("s3", "sync", "local", "s3://day/synced", "--no-progress").count("upload:") == 4
    assert aws("s3", "sync", "local", "s3://day/synced") == "", "nothing is sent twice"
    (tmp_path / "local" / "a.csv").write_bytes(b"1,2,3\n")
    (tmp_path / "local" / "empty").unlink()
    said = aws("s3", "sync", "local", "s3://day/synced", "--delete", "--no-progress")
    assert (said.count("upload:"), said.count("delete:")) == (1, 1)
    aws("s3", "sync", "s3://day/synced", "back", "--quiet")
    assert tree(tmp_path / "back") == tree(tmp_path / "local")

    # From bucket to bucket: small objects by CopyObject, large ones by UploadPartCopy.
    aws("s3", "mb", "s3://night")
    aws("s3", "sync", "s3://day/synced", "s3://night/", "--quiet")
    aws("s3", "mv", "s3://night/large.bin", "s3://night/moved.bin", "--quiet")
    assert server.client("s3").get_object(Bucket="night", Key="moved.bin")["Body"].read() == LARGE
    listing = aws("s3", "ls", "s3://night", "--recursive", "--summarize")
    assert "Total Objects: 3" in listing
    assert "deep/er/b é+#.txt" in listing
    assert "PRE deep/" in aws("s3", "ls", "s3://night")
    url = aws("s3", "presign", "s3://night/a.csv").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"1,2,3\n"

    aws("s3api", "put-bucket-versioning", "--bucket", "night", "--versioning-configuration", "Status=Enabled")
    aws("s3", "rm", "s3://night/a.csv", "--quiet")
    versions = json.loads(aws("s3api", "list-object-versions", "--bucket", "night", "--prefix", "a.csv"))
    assert [one["VersionId"] for one in versions["Versions"]] == ["null"]
    aws("s3api", "get-object", "--bucket", "night", "--key", "a.csv", "--version-id", "null", "a.back")
    assert (tmp_path / "a.back").read_bytes() == b"1,2,3\n"
    tags = "TagSet=[{Key=team,Value=growth}]"
    aws("s3api", "put-object-tagging", "--bucket", "night", "--key", "moved.bin", "--tagging", tags)
    assert "growth" in aws("s3api", "get-object-tagging", "--bucket", "night", "--key", "moved.bin")

    assert "BucketNotEmpty" in aws("s3", "rb", "s3://day", status=1)
    aws("s3", "rb", "s3://day", "--force")
    assert "day" not in aws("s3", "ls").split()


def test_standard_streams(aws: Any, server: Server) -> None:
    aws("s3", "mb", "s3://streams")
    assert aws("s3", "cp", "s3://streams/none", "-", status=1).count("404") == 1
    server.client("s3").put_object(Bucket="streams", Key="k", Body=b"out")
    assert aws("s3", "cp", "s3://streams/k", "-") == "out"
