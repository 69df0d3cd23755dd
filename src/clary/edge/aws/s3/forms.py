"""POST Object: an upload from a browser's form, signed by a policy document in it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from botocore.model import ServiceModel
from starlette.responses import Response

from clary.edge.aws.operation import Call
from clary.edge.aws.protocols import rest_xml
from clary.edge.aws.protocols.rest_xml import Incoming
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.s3 import describe, policy
from clary.edge.aws.s3.body import Body, checksum_claim
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.formdata import FormData
from clary.edge.aws.s3.service import Service
from clary.edge.aws.s3.tagsets import OBJECT_TAGS_MAX, document_tags
from clary.objects import checksums
from clary.objects.errors import DigestMismatch
from clary.objects.records import ObjectRecord
from clary.objects.writer import Writer

SignIn = Callable[[Mapping[str, str]], Call]
"""Who a form's fields are signed by; raises the door's own errors."""

_HEADERS = {"acl": "x-amz-acl"}
"""Fields that are named unlike the header of PutObject; all others are named alike."""


@dataclass(frozen=True)
class Form:
    """What a form is read with."""

    body: Body
    content_type: str
    bucket: str
    models: ServiceModel
    check: Callable[[Mapping[str, Any]], None]
    """Refuses by name the members of PutObject that are not served."""
    sign_in: SignIn


async def post_object(s3: Service, form: Form) -> tuple[Response, Call]:
    """Take the upload; S3Error, DomainError, ClientGoneError, what `sign_in` raises."""
    data = FormData(form.content_type)
    upload: _Upload | None = None
    size = 0
    try:
        async for block in form.body.blocks():
            pieces = []
            for chunk in block:
                pieces.append(data.feed(chunk))
                if upload is None and data.in_file:
                    upload = await _begin(s3, form, data)
            if upload is not None:
                piece = b"".join(pieces)
                size += len(piece)
                upload.sizes.check(size, whole=False)
                await s3.run(upload.writer.write, piece)
        data.finish()
        assert upload is not None, "a form that is finished has a file"
        upload.sizes.check(size, whole=True)
        record = await s3.run(upload.commit, s3)
    except BaseException:
        if upload is not None:
            upload.writer.abandon()
        raise
    return _answer(upload, record), upload.call


class _Upload:
    """A form whose fields were read and found good."""

    def __init__(self, call: Call, fields: Mapping[str, str], members: Mapping[str, Any], sizes: policy.Sizes) -> None:
        self.call = call
        self.fields = fields
        self.members = members
        self.sizes = sizes
        self.attributes = describe.attributes(members)
        self._condition = describe.write_condition(members)
        self._algorithm, self._checksum = checksum_claim(fields)
        self.writer: Writer

    def begin(self, s3: Service) -> None:
        """Blocking."""
        s3.enter(self.call, self.members)
        self.writer = s3.store.begin(self.members["Bucket"], self._algorithm or checksums.DEFAULT)

    def commit(self, s3: Service) -> ObjectRecord:
        """Blocking; DigestMismatch."""
        if self._algorithm is not None and self._checksum is not None:
            actual = self.writer.checksum(self._algorithm).value
            if actual != self._checksum:
                raise DigestMismatch(f"x-amz-checksum-{self._algorithm.lower()}", self._checksum, actual)
        return s3.store.commit(self.writer, self.members["Key"], self.attributes, self._condition)


async def _begin(s3: Service, form: Form, data: FormData) -> _Upload:
    """Who uploads, and whether the policy lets them; S3Error, what `sign_in` raises."""
    fields = dict(data.fields)
    if not fields.get("key"):
        raise S3Error(
            "InvalidArgument",
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
            ArgumentName="key",
        )
    fields["key"] = fields["key"].replace("${filename}", data.file_name)
    call = form.sign_in(fields)
    sizes = policy.check(fields.get("policy", ""), {**fields, "bucket": form.bucket}, s3.store.clock.now_us())
    most = s3.options.object_bytes_max if sizes.most is None else min(sizes.most, s3.options.object_bytes_max)
    members = _members(form, fields)
    form.check(members)
    upload = _Upload(call, fields, members, policy.Sizes(sizes.least, most))
    await s3.run(upload.begin, s3)
    return upload


def _members(form: Form, fields: Mapping[str, str]) -> dict[str, Any]:
    """The form as PutObject's input; S3Error."""
    labels = {"Bucket": form.bucket, "Key": fields["key"]}
    headers = {_HEADERS.get(name, name): value for name, value in fields.items()}
    try:
        members = rest_xml.parse(form.models.operation_model("PutObject"), Incoming(labels, {}, headers))
        if fields.get("tagging"):
            model = form.models.operation_model("PutObjectTagging")
            tagging = rest_xml.parse(model, Incoming(labels, {}, {}), fields["tagging"].encode())["Tagging"]
            members["Tagging"] = urlencode(document_tags(tagging, OBJECT_TAGS_MAX))
    except Unreadable as error:
        raise S3Error("InvalidArgument", error.message) from None
    return members


def _status(fields: Mapping[str, str]) -> int:
    status = fields.get("success_action_status", "204")
    return int(status) if status in ("200", "201", "204") else 204


def _answer(upload: _Upload, record: ObjectRecord) -> Response:
    fields, key, bucket = upload.fields, upload.members["Key"], upload.members["Bucket"]
    etag = f'"{record.etag}"'
    location = f"{upload.call.endpoint_url}/{bucket}/{quote(key)}"
    headers = {"ETag": etag, "Location": location}
    if record.version:
        headers["x-amz-version-id"] = record.version
    redirect = fields.get("success_action_redirect") or fields.get("redirect")
    if redirect is not None and redirect.lower().startswith(("http://", "https://")) and redirect.isascii():
        told = urlencode({"bucket": bucket, "key": key, "etag": etag})
        joined = redirect + ("&" if "?" in redirect else "?") + told
        return Response(b"", 303, {**headers, "Location": quote(joined, safe="%/:=&?~#+!$,;'@()*[]")})
    status = _status(fields)
    if status != 201:
        return Response(b"", status, headers)
    facts = {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
    inner = "".join(rest_xml.element(name, value) for name, value in facts.items())
    return Response(rest_xml.document("PostResponse", "", inner), 201, headers, "application/xml")
