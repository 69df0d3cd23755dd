"""Which bytes of an object are asked for, and whether its state lets them be sent.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (Range, conditional requests) and RFC 9110.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from clary.edge.aws.operation import Members
from clary.edge.aws.protocols.values import to_http_date
from clary.edge.aws.s3.describe import instant, unquoted
from clary.edge.aws.s3.errors import S3Error
from clary.objects.records import ObjectRecord

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,30})\s*-\s*(\d{0,30})\s*", re.ASCII)
_SOURCE_RANGE = re.compile(r"bytes=(\d{1,30})-(\d{1,30})", re.ASCII)


@dataclass(frozen=True)
class Span:
    """Bytes of an object, in bytes."""

    start: int
    count: int
    partial: bool
    """Whether the client asked for a part: 206 and Content-Range."""

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.count - 1}/{size}"


def span_of(text: str | None, size: int) -> Span:
    """The bytes that a Range header asks for of `size`; all where it is none that S3 serves; S3Error InvalidRange."""
    match = _RANGE.fullmatch(text) if text is not None else None
    if text is None or match is None or match.groups() == ("", ""):
        return Span(0, size, partial=False)
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return Span(0, size, partial=False)
    if not first:
        count = min(int(last), size)
        if count == 0:
            raise _unsatisfiable(text, size)
        return Span(size - count, count, partial=True)
    start = int(first)
    if start >= size:
        raise _unsatisfiable(text, size)
    end = min(int(last), size - 1) if last else size - 1
    return Span(start, end - start + 1, partial=True)


def source_span(text: str | None, size: int) -> Span:
    """The bytes that x-amz-copy-source-range names: both ends given, within the source; S3Error."""
    if text is None:
        return Span(0, size, partial=False)
    match = _SOURCE_RANGE.fullmatch(text.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=text,
        )
    if int(match[2]) >= size:
        raise S3Error("InvalidArgument", f"Range specified is not valid for source object of size: {size}")
    return Span(int(match[1]), int(match[2]) - int(match[1]) + 1, partial=True)


def part_span(record: ObjectRecord, number: int) -> Span:
    """The bytes of one part of an object; an object put in one piece is its own part 1. S3Error InvalidPartNumber."""
    if not 1 <= number <= 10_000:
        raise S3Error(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=str(number),
        )
    sizes = [segment.size for segment in record.segments] or [record.size]
    if number > len(sizes):
        raise S3Error("InvalidPartNumber", PartNumberRequested=str(number), ActualPartCount=str(len(sizes)))
    starts = [0, *itertools.accumulate(sizes)]
    return Span(starts[number - 1], sizes[number - 1], partial=record.size > 0)


def check_read(record: ObjectRecord, members: Members) -> None:
    """S3Error PreconditionFailed or NotModified where the conditions of a read do not hold.

    If-Match outweighs If-Unmodified-Since, If-None-Match outweighs If-Modified-Since.
    """
    modified = instant(record.modified_us)
    match, unmodified = members.get("IfMatch"), members.get("IfUnmodifiedSince")
    if match is not None:
        if not _names(match, record.etag):
            raise S3Error("PreconditionFailed", Condition="If-Match")
    elif isinstance(unmodified, datetime) and modified > unmodified:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    none_match, since = members.get("IfNoneMatch"), members.get("IfModifiedSince")
    if none_match is not None:
        if _names(none_match, record.etag):
            raise _not_modified(record)
    elif isinstance(since, datetime) and modified <= since:
        raise _not_modified(record)


def check_source(record: ObjectRecord, members: Members) -> None:
    """The same for the source of a copy, where every failure is PreconditionFailed."""
    conditions = {
        name: members[f"CopySource{name}"]
        for name in ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
        if f"CopySource{name}" in members
    }
    try:
        check_read(record, conditions)
    except S3Error as error:
        condition = error.details.get("Condition", "If-None-Match")
        raise S3Error("PreconditionFailed", Condition=f"x-amz-copy-source-{condition}") from None


def _names(header: str, etag: str) -> bool:
    candidates: Iterable[str] = (unquoted(part) for part in header.split(","))
    return any(candidate in ("*", etag) for candidate in candidates)


def _not_modified(record: ObjectRecord) -> S3Error:
    error = S3Error("NotModified")
    error.headers["ETag"] = f'"{record.etag}"'
    error.headers["Last-Modified"] = to_http_date(instant(record.modified_us))
    return error


def _unsatisfiable(text: str, size: int) -> S3Error:
    error = S3Error("InvalidRange", RangeRequested=text, ActualObjectSize=str(size))
    error.headers["Content-Range"] = f"bytes */{size}"
    return error
