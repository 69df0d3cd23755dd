"""Sets of tags: as a header, as a document, and their limits.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html (objects: 10 tags, keys of 128 and
values of 256 characters) and CostAllocTagging.html (buckets: 50 tags).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from clary.edge.aws.s3.errors import S3Error

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
_KEY_CHARACTERS_MAX = 128
_VALUE_CHARACTERS_MAX = 256
_ALLOWED = re.compile(r"[\w\s+\-=.:/@]*")


def header_tags(text: str, count_max: int) -> dict[str, str]:
    """Tags of `x-amz-tagging` (`a=1&b=2`, percent-encoded); S3Error."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=text[:256],
        ) from None
    return _checked(pairs, count_max)


def document_tags(tagging: Mapping[str, Any], count_max: int) -> dict[str, str]:
    """Tags of a `Tagging` document; S3Error."""
    tags = tagging.get("TagSet", [])
    if any("Key" not in tag or "Value" not in tag for tag in tags):
        raise S3Error("MalformedXML")
    return _checked([(tag["Key"], tag["Value"]) for tag in tags], count_max)


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """`TagSet` of an answer."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _checked(pairs: Iterable[tuple[str, str]], count_max: int) -> dict[str, str]:
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not key or len(key) > _KEY_CHARACTERS_MAX or not _ALLOWED.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key[:256])
        if len(value) > _VALUE_CHARACTERS_MAX or not _ALLOWED.fullmatch(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value[:512])
        if key.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester", TagKey=key)
        if key in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key)
        tags[key] = value
    if len(tags) > count_max:
        what = "Object tags" if count_max == OBJECT_TAGS_MAX else "Tags"
        raise S3Error("BadRequest", f"{what} cannot be greater than {count_max}")
    return tags
