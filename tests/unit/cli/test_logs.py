"""`clary logs` of log groups: the last events, those that come, and what may not be asked."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from clary.cli.exit_codes import Exit
from clary.cli.main import main
from tests.support.scripted import Scripted


def event(number: int, at_ms: int) -> dict[str, Any]:
    return {"logStreamName": "s", "message": f"line {number}", "timestamp": at_ms, "eventId": str(number)}


def test_the_last_events_of_a_group_are_printed_oldest_first(
    scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted.say("FilterLogEvents", 200, {"events": [event(3, 3), event(2, 2), event(1, 1)]})
    assert main(["logs", "/mine", "-n", "2", "--filter", "line", "--url", scripted.url]) == 0
    assert capfd.readouterr().out == "[s] line 2\n[s] line 3\n"
    assert scripted.asked[-1].members == {"logGroupName": "/mine", "filterPattern": "line", "startFromHead": False}


def test_a_follower_sees_each_event_once(
    scripted: Scripted, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = iter([[event(2, 5), event(3, 5)], [event(3, 5), event(4, 9)], [event(4, 9)]])

    def next_round(_: float) -> None:
        try:
            scripted.say("FilterLogEvents", 200, {"events": next(rounds)})
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(time, "sleep", next_round)
    scripted.say("FilterLogEvents", 200, {"events": [event(2, 5), event(1, 1)]})
    assert main(["logs", "/mine", "--follow", "--json", "--url", scripted.url]) == Exit.INTERRUPTED
    shown = [json.loads(line)["line"] for line in capfd.readouterr().out.splitlines()]
    assert shown == [f"[s] line {number}" for number in (1, 2, 3, 4)]
    starts = [asked.members.get("startTime") for asked in scripted.asked if asked.operation == "FilterLogEvents"]
    assert starts == [None, 5, 5, 9]


def test_what_is_of_endpoints_or_groups_only_is_refused(scripted: Scripted) -> None:
    assert main(["logs", "/mine", "--variant", "B", "--url", scripted.url]) == Exit.USAGE
    assert main(["logs", "e", "--filter", "ERROR", "--url", scripted.url]) == Exit.USAGE
    scripted.say("FilterLogEvents", 400, {"__type": "ResourceNotFoundException", "message": "No such group."})
    assert main(["logs", "/none", "--url", scripted.url]) == Exit.NOT_FOUND
