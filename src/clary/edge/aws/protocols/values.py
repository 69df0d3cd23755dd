"""Scalars on the wire: timestamps, floats and blobs, which each protocol writes in its own way."""

from __future__ import annotations

import base64
import binascii
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Unreadable(Exception):  # noqa: N818 - named by the fact, as the domain's errors are
    """A body or a value that does not fit its shape's type: the services' SerializationException."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def to_epoch(at: datetime) -> int | float:
    """Seconds since 1970, whole where it is, else with milliseconds, as the JSON services write them."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


def from_epoch(seconds: float) -> datetime:
    """An aware datetime (UTC) of seconds since 1970; Unreadable when no calendar holds it."""
    try:
        return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
    except (OverflowError, ValueError):
        raise Unreadable(f"{seconds} is not a time in seconds since 1970") from None


def to_iso8601(at: datetime) -> str:
    """`2031-01-05T08:00:00Z`, with milliseconds where there are some."""
    at = at.astimezone(UTC)
    fraction = f".{at.microsecond // 1000:03d}" if at.microsecond >= 1000 else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def to_http_date(at: datetime) -> str:
    """`Sun, 05 Jan 2031 08:00:00 GMT`: the form of headers."""
    return format_datetime(at.astimezone(UTC).replace(microsecond=0), usegmt=True)


def from_text(text: str) -> datetime:
    """A timestamp in any form that clients send as text: ISO 8601, HTTP date, seconds since 1970; Unreadable."""
    text = text.strip()
    try:
        return from_epoch(float(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            raise Unreadable(f"timestamp must follow ISO8601: {text[:64]!r}") from None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise Unreadable(f"{text[:64]!r} is not a time that Clary can hold") from None


def format_timestamp(at: datetime, form: str) -> str | int | float:
    """A timestamp in one of the models' forms: unixtimestamp, iso8601, rfc822."""
    form = form.lower()
    if form == "unixtimestamp":
        return to_epoch(at)
    return to_iso8601(at) if form == "iso8601" else to_http_date(at)


def float_out(value: float) -> float | str:
    """A JSON number, or the name that the services write where JSON has none."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def float_in(text: str) -> float:
    """A float of its text; Unreadable."""
    try:
        return float(
            text if text.isascii() and "_" not in text else ""
        )  # Python would take 1_0 and digits of any script
    except ValueError:
        raise Unreadable(f"{text[:64]!r} can not be converted to a Float") from None


def int_in(text: str) -> int:
    """An integer of its text; Unreadable."""
    number = text.strip()
    digits = number[1:] if number[:1] in ("-", "+") else number
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise Unreadable(f"{text[:64]!r} can not be converted to an Integer")
    return int(number)


def bool_in(text: str) -> bool:
    """A boolean of its text; Unreadable."""
    if text.lower() not in ("true", "false"):
        raise Unreadable(f"{text[:64]!r} can not be converted to a Boolean")
    return text.lower() == "true"


def blob_in(text: str) -> bytes:
    """Bytes of base64; Unreadable."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("The value is not valid base64") from None


def blob_out(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
