"""The S3 door: from an authenticated request to an operation of the object store, and back, errors included."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from starlette.requests import Request
from starlette.responses import Response

from clary.domain.errors import DomainError, NotFound
from clary.edge.aws.errors import DISK_FULL, AwsError
from clary.edge.aws.operation import Answer, Call, Operation
from clary.edge.aws.protocols import rest_xml
from clary.edge.aws.protocols.rest_xml import Incoming
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.registry import refused
from clary.edge.aws.s3 import cors
from clary.edge.aws.s3.address import Address, address
from clary.edge.aws.s3.body import Body, ClientGoneError
from clary.edge.aws.s3.errors import S3Error, from_domain
from clary.edge.aws.s3.forms import Form, SignIn, post_object
from clary.edge.aws.s3.operations import operations
from clary.edge.aws.s3.respond import GoneResponse, SlowResponse, encode, failure, identity
from clary.edge.aws.s3.routes import Routes, routes
from clary.edge.aws.s3.service import S3Options, Service
from clary.edge.aws.validate import lower_first
from clary.kit.disk import is_full
from clary.kit.sigv4 import Proof
from clary.kit.threads import Threads
from clary.objects.records import Bucket
from clary.objects.store import ObjectStore

Query = Mapping[str, Sequence[str]]
Answering = Callable[[dict[str, str], Query, Body], Awaitable[Response]]
"""From headers (by lower-case name), query and body to an answer."""

_STREAMING = frozenset({"PutObject", "UploadPart"})
_SLOW = frozenset({"CopyObject", "UploadPartCopy"})
"""Operations that may move 5 GiB before their answer; S3 answers them the same way."""
_VERBATIM = ("Expires", "ResponseExpires")
"""Timestamps of the model that S3 keeps and returns as the text they came in."""
_DIGESTS = ("content-md5", "x-amz-checksum-", "x-amz-trailer")


_SIGNATURE = frozenset(
    f"x-amz-{name}"
    for name in ("algorithm", "credential", "date", "expires", "security-token", "signature", "signedheaders")
)


class S3Door:
    """Answers every request that is not another service's. Loads the service model once, when it is made."""

    def __init__(self, store: ObjectStore, threads: Threads, options: S3Options | None = None) -> None:
        """`threads`: where the store's blocking calls run; one upload or download takes at most two at a time."""
        self._options = options or S3Options()
        self._threads = threads
        document = Loader().load_service_model("s3", "service-2")
        for shape in _VERBATIM:
            document["shapes"][shape] = {"type": "string"}
        self._model = ServiceModel(document, "s3")
        self._routes: Routes = routes(self._model)
        self._service = Service(store, threads, self._options)
        self._operations = {one.name: one for one in operations(self._service)}

    async def __call__(self, call: Call, request: Request, proof: Proof | None) -> Response:
        """The answer to one request, which the caller has authenticated."""
        return await self._guarded(request, call.request_id, proof, functools.partial(self._answer, call, request))

    async def preflight(self, request: Request, request_id: str) -> Response:
        """The answer to a browser that asks, unsigned, whether a page may do something (`OPTIONS`)."""

        async def answer(headers: dict[str, str], _query: Query, _body: Body) -> Response:
            target = self._target(request, headers)
            bucket = await self._threads.run(functools.partial(self._bucket, target.bucket))
            return Response(b"", 200, cors.preflight(bucket, headers, of_object=bool(target.key)))

        return await self._guarded(request, request_id, None, answer, readable=False)

    async def form(self, request: Request, request_id: str, sign_in: SignIn) -> Response:
        """The answer to an upload from a browser's form, whose fields `sign_in` authenticates."""

        async def answer(headers: dict[str, str], query: Query, body: Body) -> Response:
            target = self._target(request, headers)
            if not target.bucket or target.key or query:
                raise S3Error("MethodNotAllowed", Method=request.method)
            operation, model = self._operations["PutObject"], self._model.operation_model("PutObject")
            check = functools.partial(_check_refused, operation, model=model)
            form = Form(body, headers.get("content-type", ""), target.bucket, self._model, check, sign_in)
            response, call = await post_object(self._service, form)
            response.headers.update(identity(call.request_id))
            return response

        return await self._guarded(request, request_id, None, answer)

    async def _guarded(
        self, request: Request, request_id: str, proof: Proof | None, answer: Answering, *, readable: bool = True
    ) -> Response:
        """What `answer` gives, or its refusal in S3's form; the body read to its end; what CORS grants, said."""
        try:
            query = _query(request)
        except S3Error as error:
            return failure(error, request_id, request)
        headers = _headers(request, query)
        body = Body(request.receive, headers, proof, self._threads)
        try:
            response = await answer(headers, query, body)
        except ClientGoneError:
            return GoneResponse()
        except S3Error as error:
            response = failure(error, request_id, request)
        except DomainError as error:
            response = failure(from_domain(error), request_id, request)
        except AwsError:
            await body.drain()
            raise
        except Exception as error:
            response = failure(_unforeseen(error, request_id), request_id, request)
        # A body that is left unread would be taken for the next request.
        if body.unread and not await body.drain():
            response.headers["connection"] = "close"
        origin = cors.origin_of(headers)
        if readable and origin is not None:
            response.headers.update(await self._threads.run(lambda: self._granted(request, headers, origin)))
        return response

    def _granted(self, request: Request, headers: Mapping[str, str], origin: str) -> dict[str, str]:
        """Headers that let a page read an answer; blocking."""
        try:
            bucket = self._bucket(self._target(request, headers).bucket)
        except S3Error:
            return {}
        return cors.granted(bucket, origin, request.method) if bucket is not None else {}

    def _bucket(self, name: str) -> Bucket | None:
        try:
            return self._service.store.bucket(name)
        except NotFound:
            return None

    def _target(self, request: Request, headers: Mapping[str, str]) -> Address:
        path = request.scope.get("raw_path") or request.url.path.encode()
        target = address(headers.get("host", ""), path.decode("latin-1"), self._options.hosts)
        elsewhere = self._options.elsewhere
        place = elsewhere.get(target.bucket) or elsewhere.get("*") if target.bucket else None
        if place is not None:
            raise S3Error(
                "NotImplemented",
                f"The bucket {target.bucket} lies in another object store (--object-store): use {place}.",
                Endpoint=place,
            )
        return target

    async def _answer(
        self, call: Call, request: Request, headers: dict[str, str], query: Query, body: Body
    ) -> Response:
        target = self._target(request, headers)
        name = self._routes.operation(request.method, target, query, headers)
        operation = self._operations.get(name)
        if operation is None:
            raise S3Error("NotImplemented", f"{name} is not served by Clary's object store.")
        if name == "ListObjectsV2" and query["list-type"][-1] != "2":
            raise S3Error("InvalidArgument", "Invalid List Type specified in Request", ArgumentName="list-type")
        model = self._model.operation_model(name)
        members = await self._members(operation, model, Incoming(_labels(target), query, headers), body)
        _check_refused(operation, members, model)
        if name not in _SLOW:
            return await _encoded(operation, members, model, call, request)
        running = asyncio.create_task(_encoded(operation, members, model, call, request))
        await asyncio.wait({running}, timeout=self._options.patience_s)
        if running.done():
            return running.result()
        document = asyncio.create_task(_document(running, call.request_id, request))
        return SlowResponse(document, self._options.patience_s, call.request_id)

    async def _members(
        self, operation: Operation, model: OperationModel, incoming: Incoming, body: Body
    ) -> dict[str, Any]:
        """The operation's input, with the body as it is where it is bytes, decoded where it is a document."""
        if operation.name in _STREAMING:
            return {**rest_xml.parse(model, incoming), "Body": body}
        # Documents that S3 takes only with a digest.
        if model.http_checksum.get("requestChecksumRequired") and not any(
            name.startswith(_DIGESTS) for name in incoming.headers
        ):
            raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
        document = b""
        if model.input_shape is not None and "payload" in model.input_shape.serialization:
            of_body = operation.name != "CompleteMultipartUpload"
            document = await body.read(self._options.document_bytes_max, digest_is_of_body=of_body)
        try:
            return rest_xml.parse(model, incoming, document)
        except Unreadable as error:
            code = "MalformedXML" if document else "InvalidArgument"
            raise S3Error(code, "" if document else error.message) from None


async def _encoded(
    operation: Operation, members: Mapping[str, Any], model: OperationModel, call: Call, request: Request
) -> Response:
    answer = await operation.handler(call, members)
    assert isinstance(answer, Answer), "handlers of S3 answer with Answer"
    return encode(model, answer, call.request_id, request)


async def _document(running: asyncio.Task[Response], request_id: str, request: Request) -> bytes:
    """The document of an answer whose status and headers are sent already; an error's, where it is one."""
    try:
        return bytes((await running).body)
    except S3Error as error:
        told = error
    except DomainError as error:
        told = from_domain(error)
    except Exception as error:
        told = _unforeseen(error, request_id)
    return bytes(failure(told, request_id, request).body)


def _labels(target: Address) -> dict[str, str]:
    return {name: value for name, value in (("Bucket", target.bucket), ("Key", target.key)) if value}


def _unforeseen(error: Exception, request_id: str) -> S3Error:
    """The answer to an exception, which is logged here."""
    log = structlog.get_logger(__name__)
    if is_full(error):
        log.error("An S3 request found the disk full.", request_id=request_id, error=str(error))
        return S3Error("InternalError", DISK_FULL)
    log.error("An S3 request failed for a reason that nobody foresaw.", request_id=request_id, exc_info=error)
    return S3Error("InternalError")


def _check_refused(operation: Operation, members: Mapping[str, Any], model: OperationModel) -> None:
    """NotImplemented, naming it, for the first field that is known and not served."""
    shape = model.input_shape
    given = {name: value for name, value in members.items() if name != "Body"}
    found = refused(operation, given, shape)
    if found is None or shape is None:
        return
    path, note = found
    member = next((one for name, one in shape.members.items() if lower_first(name) == path), None)
    name = member.serialization.get("name", path) if member is not None else path
    raise S3Error("NotImplemented", f"{name} is not served by Clary. {note}", Header=name)


def _query(request: Request) -> dict[str, list[str]]:
    """Values by name, percent-decoded; InvalidURI where they are not UTF-8."""
    found: dict[str, list[str]] = {}
    for pair in request.scope["query_string"].split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            try:
                found.setdefault(unquote_to_bytes(name).decode(), []).append(unquote_to_bytes(value).decode())
            except UnicodeDecodeError:
                raise S3Error("InvalidURI") from None
    return found


def _headers(request: Request, query: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Headers by lower-case name, those of one name joined; a presigned URL may hold `x-amz-` headers in its query."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    if "X-Amz-Signature" in query or "AWSAccessKeyId" in query:
        for name, values in query.items():
            lower = name.lower()
            if lower.startswith("x-amz-") and lower not in _SIGNATURE:
                found.setdefault(lower, values[-1])
    return found
