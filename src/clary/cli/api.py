"""A small client of the public API: what the commands need, signed as any AWS client signs.

No botocore: a command starts in tens of milliseconds. Every answer that is an error becomes an ApiError.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from clary.cli.connect import Target
from clary.cli.exit_codes import CliError, Exit
from clary.kit.sigv4 import sign

TIMEOUT_S = 90.0
"""Longer than the 60 s that an invocation may take."""
PART_BYTES = 16 * 1024 * 1024
"""Objects above this size go up in parts, each held in memory once."""

ProgressOf = Callable[[int], None]
"""Is told how many bytes have just arrived."""

_NOT_FOUND = re.compile(r"Could not find|not ?found|NoSuch|does not exist", re.IGNORECASE)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_UNAVAILABLE = frozenset({"ModelNotReadyException", "ThrottlingException", "ServiceUnavailable", "SlowDown"})


class ApiError(CliError):
    """An error answer of the server. `aws_code` is the service's own name for it, `status` the HTTP status."""

    def __init__(self, status: int, aws_code: str, message: str) -> None:
        super().__init__(
            exit_of(status, aws_code, message), message or f"{aws_code} (HTTP {status})", _remedy(aws_code)
        )
        self.status = status
        self.aws_code = aws_code


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exit_of(status: int, aws_code: str, message: str) -> Exit:
    """The exit status that stands for an error answer."""
    if aws_code == "ModelError":
        return Exit.MODEL
    if aws_code in _DENIED or status in (401, 403):
        return Exit.DENIED
    if aws_code in _UNAVAILABLE or status in (429,) or status >= 500:
        return Exit.UNAVAILABLE
    if status == 404 or _NOT_FOUND.search(f"{aws_code} {message}"):
        return Exit.NOT_FOUND
    return Exit.REFUSED


def _remedy(aws_code: str) -> str:
    if aws_code in _DENIED:
        return "Name the server's own keys: run on its machine with its --home, or `clary env --profile` and --profile."
    return ""


class Api:
    """Calls to one server, in one region, as one caller. Each call is one connection; not shared between threads."""

    def __init__(self, target: Target) -> None:
        self.target = target
        parts = urlsplit(target.url)
        self._tls = parts.scheme == "https"
        self._netloc = parts.netloc
        self._base = parts.path.rstrip("/")

    def sagemaker(self, operation: str, **members: Any) -> dict[str, Any]:
        """One operation of the control API, such as `CreateModel`; the members of its answer."""
        return self.json("sagemaker", f"SageMaker.{operation}", members)

    def json(self, service: str, target: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """One operation of a service of the JSON protocol, by the target that its requests name."""
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        answer = self.call("POST", "/", service=service, headers=headers, body=json.dumps(members).encode())
        return _members(answer.body)

    def pages(self, operation: str, key: str, **members: Any) -> Iterator[dict[str, Any]]:
        """All items of a List operation, `key` naming the list, over as many pages as there are."""
        token: str | None = None
        while True:
            page = self.sagemaker(operation, **members, **({"NextToken": token} if token else {}))
            yield from page.get(key, [])
            token = page.get("NextToken")
            if not token:
                return

    def account(self) -> str:
        """The twelve digits of the caller's account."""
        answer = self.call(
            "POST",
            "/",
            service="sts",
            headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
            body=b"Action=GetCallerIdentity&Version=2011-06-15",
        )
        return xml_text(answer.body, "Account")

    def invoke(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """InvokeEndpoint; header names as the API reference has them."""
        path = f"/endpoints/{quote(endpoint, safe='')}/invocations"
        return self.call("POST", path, service="sagemaker", headers=headers, body=body)

    def admin(
        self, method: str, path: str, members: Mapping[str, object] | None = None, *, query: str = ""
    ) -> dict[str, Any]:
        """Clary's own API below /clary/api, JSON both ways."""
        body = b"" if members is None else json.dumps(members).encode()
        headers = {"content-type": "application/json"}
        answer = self.call(method, f"/clary/api{path}", service="clary", headers=headers, body=body, query=query)
        return _members(answer.body)

    def upload(self, bucket: str, key: str, source: BinaryIO, size_bytes: int, progress: ProgressOf) -> None:
        """Put an object, in parts where it is large; `progress` is told the bytes of each part that has arrived."""
        path = f"/{bucket}/{quote(key)}"
        if size_bytes <= PART_BYTES:
            self.s3("PUT", path, body=source.read())
            progress(size_bytes)
            return
        upload_id = xml_text(self.s3("POST", path, query="uploads=").body, "UploadId")
        try:
            parts = list(self._upload_parts(path, upload_id, source, progress))
            listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts)
            document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
            self.s3("POST", path, query=urlencode({"uploadId": upload_id}), body=document.encode())
        except BaseException:
            self.s3("DELETE", path, query=urlencode({"uploadId": upload_id}))
            raise

    def make_bucket(self, bucket: str) -> None:
        """Create the bucket unless it exists."""
        region = self.target.region
        body = (
            ""
            if region == "us-east-1"
            else (
                f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        )
        try:
            self.s3("PUT", f"/{bucket}", body=body.encode())
        except ApiError as error:
            if error.aws_code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def delete_object(self, bucket: str, key: str) -> None:
        """Delete an object; none of that name is fine."""
        self.s3("DELETE", f"/{bucket}/{quote(key)}")

    def _upload_parts(
        self, path: str, upload_id: str, source: BinaryIO, progress: ProgressOf
    ) -> Iterator[tuple[int, str]]:
        number = 0
        while part := source.read(PART_BYTES):
            number += 1
            query = urlencode({"partNumber": number, "uploadId": upload_id})
            yield number, self.s3("PUT", path, query=query, body=part).headers.get("etag", "")
            progress(len(part))

    def s3(self, method: str, path: str, *, query: str = "", body: bytes = b"") -> Answer:
        """One S3 request; `path` and `query` percent-encoded. Raises ApiError."""
        return self.call(method, path, service="s3", headers={}, body=body, query=query)

    def call(
        self, method: str, path: str, *, service: str, headers: Mapping[str, str], body: bytes, query: str = ""
    ) -> Answer:
        """One signed request, answered whole. Raises ApiError for a status of 400 and up."""
        with self.open(method, path, service=service, headers=headers, body=body, query=query) as response:
            answer = self.read(response)
        if answer.status >= 400:
            raise error_of(answer)
        return answer

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        service: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        query: str = "",
        timeout_s: float | None = TIMEOUT_S,
    ) -> Iterator[http.client.HTTPResponse]:
        """One signed request, its answer open for reading, whatever its status."""
        path = self._base + path
        signed = sign(
            method=method,
            path=path,
            query=query,
            headers={"host": self._netloc, "user-agent": "clary-cli", **headers},
            payload=body,
            key_id=self.target.keys.key_id,
            secret=self.target.keys.secret,
            token=self.target.keys.token,
            region=self.target.region,
            service=service,
            now_s=time.time(),
        )
        connection = self._connection(timeout_s)
        try:
            with self._translated():
                connection.request(method, f"{path}?{query}" if query else path, body=body, headers=signed)
                response = connection.getresponse()
            yield response
        finally:
            connection.close()

    def read(self, response: http.client.HTTPResponse) -> Answer:
        """The whole of an open answer."""
        with self._translated():
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise self._no_server(error) from None

    def _connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._netloc, timeout=timeout_s, context=ssl.create_default_context())
        return http.client.HTTPConnection(self._netloc, timeout=timeout_s)

    def _no_server(self, error: Exception) -> CliError:
        target = self.target
        if isinstance(error, TimeoutError):
            return CliError(Exit.TIMEOUT, f"{target.url} did not answer within {TIMEOUT_S:.0f} s.")
        return CliError(
            Exit.NO_SERVER,
            f"No server answers at {target.url} (from {target.url_source}): {error or type(error).__name__}.",
            "Start one with `clary serve`, or name another with --url.",
        )


def _members(body: bytes) -> dict[str, Any]:
    document = json.loads(body or b"{}")
    return document if isinstance(document, dict) else {}


def xml_text(body: bytes, name: str) -> str:
    """The text of the first element of that name, whatever its namespace; empty where there is none."""
    found = re.search(rb"<(?:\w+:)?%s(?: [^>]*)?>([^<]*)<" % name.encode(), body)
    return _unescape(found[1].decode()) if found else ""


def _unescape(text: str) -> str:
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def error_of(answer: Answer) -> ApiError:
    """What an answer with a status of 400 or more says, in JSON or XML."""
    if answer.body.lstrip().startswith(b"<"):
        return ApiError(answer.status, xml_text(answer.body, "Code"), xml_text(answer.body, "Message"))
    try:
        members = _members(answer.body)
    except ValueError:
        members = {"message": answer.body[:500].decode("utf-8", "replace").strip()}
    code = answer.headers.get("x-amzn-errortype") or members.get("__type") or members.get("code") or ""
    message = members.get("message") or members.get("Message") or members.get("OriginalMessage") or ""
    return ApiError(answer.status, re.sub(r"^.*#|:.*$", "", str(code)), str(message))
