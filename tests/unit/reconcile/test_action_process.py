"""Commands of actions: what they see, how they end, that nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from clary.kit.clock import SystemClock
from clary.reconcile.action_process import OUTPUT_BYTES_MAX, Ended, run_command


async def run(*command: str, event: bytes = b"{}", timeout_s: float = 20.0) -> Ended:
    with tempfile.TemporaryDirectory() as rooms:
        return await run_command(SystemClock(), command, {"GIVEN": "yes"}, event, timeout_s, Path(rooms))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_it_gets_the_event_an_empty_folder_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARY_SECRET", "kek")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")
    script = "import json, os, sys; print(json.dumps([sys.stdin.read(), os.listdir(), dict(os.environ), os.getcwd()]))"
    event = b'{"a": "\xc3\xa9"}'
    ended = await run(sys.executable, "-c", script, event=event)
    assert ended.why == ""
    said, listing, environment, folder = json.loads(ended.output)
    assert (said, listing) == (event.decode(), [])
    assert environment["GIVEN"] == "yes"
    assert not [name for name in environment if name.startswith(("CLARY_", "AWS_"))]
    assert not os.path.exists(folder)  # noqa: ASYNC240, PTH110


async def test_a_long_event_that_nobody_reads_and_a_long_output() -> None:
    ended = await run("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo end", event=b"x" * 262_144)
    assert (ended.why, len(ended.output)) == ("", OUTPUT_BYTES_MAX)
    assert ended.output.endswith("xend\n")


async def test_it_is_killed_with_all_that_it_started() -> None:
    ended = await run("sh", "-c", "sleep 300 & echo $!; sleep 300", timeout_s=0.5)
    assert ended.why == "It was killed: it ran for more than 0.5 s."
    assert gone(int(ended.output))


async def test_what_it_leaves_behind_is_killed_too() -> None:
    ended = await run("sh", "-c", "sleep 300 & echo $!")
    assert ended.why == ""
    assert gone(int(ended.output))


async def test_how_it_ends_is_told() -> None:
    assert (await run("sh", "-c", "exit 4")).why == "It exited with status 4."
    assert (await run("sh", "-c", "kill -9 $$")).why == "It was ended by signal 9."
    missing = await run("no-such-program-here")
    assert (missing.why, missing.output) == (
        "It exited with status 127.", "no-such-program-here: No such file or directory\n",
    )  # fmt: skip
    assert (await run(os.devnull)).why == "It exited with status 126."


async def test_cancelled_it_kills_its_command(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    running = asyncio.ensure_future(run("sh", "-c", f"echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 300"))
    while not mark.exists():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gone(int(mark.read_text()))
