"""Listings of keys: ListObjectsV2, and ListObjects, its older form."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import quote

import msgspec

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3.describe import instant
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.service import Service, owner
from clary.objects.records import Entry, Listing


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Where a listing goes on: after a key, so that inserts and deletes meanwhile neither repeat nor skip others."""

    format: int
    after: str
    prefix: str
    delimiter: str


async def list_objects_v2(s3: Service, call: Call, members: Members) -> Answer:
    prefix, delimiter = members.get("Prefix", ""), members.get("Delimiter", "")
    token = members.get("ContinuationToken")
    after = members.get("StartAfter", "") if token is None else _read_token(token, prefix, delimiter)
    found, answer = await _page(s3, call, members, after)
    answer.update(KeyCount=len(found.entries) + len(found.prefixes))
    if members.get("FetchOwner"):
        for entry in answer["Contents"]:
            entry["Owner"] = owner(call.principal.account)
    if token is not None:
        answer["ContinuationToken"] = token
    if "StartAfter" in members:
        answer["StartAfter"] = _text(members["StartAfter"], members)
    if found.truncated:
        answer["NextContinuationToken"] = _token(found.last, prefix, delimiter)
    return Answer(answer)


async def list_objects(s3: Service, call: Call, members: Members) -> Answer:
    found, answer = await _page(s3, call, members, members.get("Marker", ""))
    for entry in answer["Contents"]:
        entry["Owner"] = owner(call.principal.account)
    answer["Marker"] = _text(members.get("Marker", ""), members)
    # S3 gives the next marker only with a delimiter; without one it is the last key.
    if found.truncated and members.get("Delimiter"):
        answer["NextMarker"] = _text(found.last, members)
    return Answer(answer)


async def _page(s3: Service, call: Call, members: Members, after: str) -> tuple[Listing, dict[str, Any]]:
    """One page and the members that both forms have in common."""
    count_max = s3.page_size(members.get("MaxKeys"), "max-keys")
    prefix, delimiter = members.get("Prefix", ""), members.get("Delimiter", "")
    encoding = encoding_of(members)
    await s3.run(s3.enter, call, members)
    found = Listing((), (), "", truncated=False)
    if count_max > 0:
        found = await s3.run(
            s3.store.list_page,
            members["Bucket"],
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            count_max=count_max,
        )
    answer: dict[str, Any] = {
        "Name": members["Bucket"],
        "Prefix": _text(prefix, members),
        "MaxKeys": count_max,
        "IsTruncated": found.truncated,
        "Contents": [described(entry, members) for entry in found.entries],
        "CommonPrefixes": [{"Prefix": _text(common, members)} for common in found.prefixes],
    }
    if delimiter:
        answer["Delimiter"] = _text(delimiter, members)
    if encoding is not None:
        answer["EncodingType"] = encoding
    return found, answer


def encoding_of(members: Members) -> str | None:
    """How keys are to be written: `url` or, None, as they are; S3Error."""
    encoding = members.get("EncodingType")
    if encoding not in (None, "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request", ArgumentName="encoding-type")
    return encoding


def described(entry: Entry, members: Members) -> dict[str, Any]:
    """One object of a listing."""
    listed = {
        "Key": _text(entry.key, members),
        "LastModified": instant(entry.modified_us),
        "ETag": f'"{entry.etag}"',
        "Size": entry.size,
        "StorageClass": entry.storage_class,
    }
    if entry.checksum_algorithm:
        listed["ChecksumAlgorithm"] = [entry.checksum_algorithm]
        listed["ChecksumType"] = entry.checksum_kind
    return listed


def _text(text: str, members: Members) -> str:
    """A key as the answer writes it: percent-encoded where the client asked for that."""
    return quote(text, safe="/") if members.get("EncodingType") == "url" else text


def _token(after: str, prefix: str, delimiter: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(1, after, prefix, delimiter))).decode()


def _read_token(token: str, prefix: str, delimiter: str) -> str:
    """The key after which the listing goes on; S3Error for a token that is not of this listing."""
    try:
        read = msgspec.json.decode(base64.b64decode(token.encode(), altchars=b"-_", validate=True), type=_Token)
    except (binascii.Error, ValueError):
        read = None
    if read is None or (read.format, read.prefix, read.delimiter) != (1, prefix, delimiter):
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            ArgumentName="continuation-token",
            ArgumentValue=token[:256],
        )
    return read.after
