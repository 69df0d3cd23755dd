"""Events as botocore reads them; every kind of header is in tests/unit/edge/test_aws_protocols.py."""

from __future__ import annotations

import json

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from clary.kit import eventstream


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_parts_are_read_as_they_were_written(parts: list[bytes]) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(eventstream.payload_part(part) for part in parts))
    found = list(buffer)
    assert [event.payload for event in found] == parts
    assert all(event.headers[":event-type"] == "PayloadPart" for event in found)


def test_an_exception_says_its_name_and_members() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.exception("ModelStreamError", {"Message": "é", "ErrorCode": "StreamBroken"}))
    (event,) = buffer
    assert event.headers[":exception-type"] == "ModelStreamError"
    assert json.loads(event.payload) == {"Message": "é", "ErrorCode": "StreamBroken"}
