"""The door of the AWS APIs: an ASGI application that authenticates, decodes, validates, calls and encodes.

It decides nothing about models: what an operation does is in `resources/`, what S3 does in `s3/`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from botocore.model import OperationModel, Shape
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from clary.domain.errors import DomainError
from clary.domain.principal import Asked, Principal
from clary.domain.principal import Scope as Place
from clary.edge.aws import asked, errors, respond
from clary.edge.aws.detect import FORM, Target, detect
from clary.edge.aws.errors import AwsError
from clary.edge.aws.expect import expecting
from clary.edge.aws.gzipped import unpacked
from clary.edge.aws.operation import Answer, Call, Members, Operation
from clary.edge.aws.protocols import cbor, json, query, rest_json
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.registry import Registry, refused
from clary.edge.aws.s3 import postsign, sigv2
from clary.edge.aws.s3.address import bucket_of_host
from clary.edge.aws.spec import Spec
from clary.edge.aws.validate import validate
from clary.kit import loopback, sigv4
from clary.kit.clock import MICROS, Clock
from clary.kit.disk import is_full
from clary.kit.ids import Ids
from clary.store.base import StoreUnavailableError


@dataclass(frozen=True)
class DoorOptions:
    """How the door treats its callers."""

    auth: bool
    """Whether signatures are verified. False: any credential of SigV4's form is taken, and only loopback callers are
    answered, because everyone who reaches the port may then run code."""
    account: str
    """Twelve digits: the account of unverified callers."""
    region: str
    """Region of requests whose signature does not name one."""
    hosts: tuple[str, ...] = ()
    """Host names answered besides loopback ones, lower case, without port. Only looked at without `auth`."""
    body_s: float = 60.0
    """Seconds within which the whole body of a control call must have come; beyond: 408. Objects take their time."""


class S3(Protocol):
    """The object store's door: answers for itself, errors included."""

    async def __call__(self, call: Call, request: Request, proof: sigv4.Proof | None) -> Response: ...

    async def preflight(self, request: Request, request_id: str) -> Response:
        """Cross-origin questions of browsers, which are never signed."""
        ...

    async def form(self, request: Request, request_id: str, sign_in: Callable[[Mapping[str, str]], Call]) -> Response:
        """Uploads by browsers' forms, whose signature is in the body: `sign_in` takes the fields by lower-case name."""
        ...


@dataclass(frozen=True)
class _Head:
    """One request's head, as SigV4 needs it: latin-1, undecoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """By lower-case name; values of a repeated header joined by commas."""


class Door:
    """`Door(...)` is an ASGI application for `http` scopes."""

    def __init__(
        self,
        *,
        operations: Iterable[Operation],
        keys: sigv4.Keys,
        s3: S3,
        clock: Clock,
        ids: Ids,
        options: DoorOptions,
        spec: Spec | None = None,
        witness: asked.Witness = asked.nobody,
    ) -> None:
        self._registry = Registry(operations)
        self._keys = keys
        self._s3 = s3
        self._clock = clock
        self._ids = ids
        self._options = options
        self._spec = spec or Spec()
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the application around the door answers for lifespan"
        request_id = self._ids.request_id()
        head = _head_of(scope)
        receive, send = expecting(head.headers, receive, send)
        request = Request(scope, receive)
        target, claim, malformed = self._look(head)
        try:
            self._admit(head, target, malformed)
            if target.protocol == "s3":
                response = await self._object(request, head, claim, request_id)
            else:
                response = await self._operation(request, head, target, claim, request_id)
        except AwsError as error:
            response = respond.error(self._spec, target, error, request_id)
        except Unreadable as error:
            response = respond.error(self._spec, target, errors.unreadable(target.protocol, error.message), request_id)
        except ClientDisconnect:
            return
        except Exception as error:
            response = respond.error(self._spec, target, _unforeseen(target, head, error, request_id), request_id)
        await response(scope, receive, _with_request_id(send, target, request_id))

    def _look(self, head: _Head) -> tuple[Target, sigv4.Claim | None, sigv4.Malformed | None]:
        """What is asked for and by which signature, or why that cannot be read: the target says how to answer."""
        claim, malformed = None, None
        try:
            claim = sigv4.parse(head.headers, head.query)
        except sigv4.Malformed as error:
            malformed = error
        target = detect(
            self._spec, method=head.method, path=head.path, query_string=head.query, headers=head.headers, claim=claim
        )
        return target, claim, malformed

    def _admit(self, head: _Head, target: Target, malformed: sigv4.Malformed | None) -> None:
        """Loopback rules of an open server, and a signature that can be read; AwsError."""
        if not self._options.auth:
            get = head.headers.get
            reason = loopback.refusal(get("host"), get("origin"), get("sec-fetch-site"), self._options.hosts)
            if reason is not None:
                raise errors.forbidden_origin(target.protocol, reason)
        if malformed is not None:
            raise errors.of_signature(self._words(target), malformed)

    def _authenticate(
        self, head: _Head, target: Target, claim: sigv4.Claim | None, payload: str
    ) -> tuple[Principal, Place, sigv4.Proof]:
        """Who asks, where, and the proof; AwsError."""
        if claim is None:
            raise errors.of_signature(self._words(target), None)
        place = claim.credential.region or self._options.region
        if not self._options.auth:
            principal = self._unverified(target, claim)
            return principal, Place(principal.account, place), sigv4.Proof(claim, payload)
        try:
            key = self._keys.lookup(claim.credential.key_id, claim.token)
            proof = sigv4.verify(
                claim, key, method=head.method, path=head.path, query=head.query, headers=head.headers,
                payload=payload, now_s=self._clock.now_us() / MICROS,
            )  # fmt: skip
        except sigv4.SigV4Error as error:
            raise errors.of_signature(self._words(target), error) from None
        assert key is not None, "verify raises for an unknown key"
        if target.service is not None and claim.credential.service != target.service.signing:
            raise errors.wrong_scope(self._words(target), target.service.signing)
        return _principal(key), Place(key.account, place), proof

    def _unverified(self, target: Target, claim: sigv4.Claim) -> Principal:
        """Who asks an open server: a session where its token is ours, else the root of the account; AwsError."""
        key = self._keys.lookup(claim.credential.key_id, claim.token) if claim.token else None
        if key is None or key.account != self._options.account:
            account = self._options.account
            return Principal(account, f"arn:aws:iam::{account}:root", claim.credential.key_id)
        # Sessions are Clary's own also here: a client that is to renew them must be told.
        if key.expires_s is not None and self._clock.now_us() / MICROS >= key.expires_s:
            raise errors.of_signature(self._words(target), sigv4.SessionExpired(key.expires_s))
        return _principal(key)

    def _words(self, target: Target) -> str:
        """In which protocol's words a bad signature is refused."""
        service = target.service
        compatible = service is not None and self._spec.service(service.name).is_query_compatible
        return "query" if compatible else target.protocol

    def _call(self, request: Request, principal: Principal, place: Place, head: _Head, request_id: str) -> Call:
        url = f"{request.url.scheme}://{head.headers.get('host', '')}"
        agent, address = head.headers.get("user-agent", ""), request.client.host if request.client else ""
        return Call(principal, place, request_id, agent, url, Asked(user_agent=agent, source_ip=address))

    def _signed_object(self, head: _Head, claim: sigv4.Claim | None) -> tuple[Principal, Place, sigv4.Proof]:
        """Who asks S3, by a version 4 signature; AwsError."""
        target = Target("s3", None, "")
        try:
            payload = sigv4.payload_literal(head.headers, presigned=claim is not None and claim.presigned)
        except sigv4.Malformed as error:
            if claim is not None and self._options.auth:
                raise errors.of_signature("s3", error) from None
            payload = sigv4.UNSIGNED_PAYLOAD
        return self._authenticate(head, target, claim, payload)

    def _signed_url_v2(self, head: _Head) -> tuple[Principal, Place, sigv4.Proof]:
        """Who asks S3, by a URL of version 2 (boto3's default in us-east-1), which names no region; AwsError."""
        try:
            url = sigv2.parse(head.query)
            if url is None or not self._options.auth:
                return self._signed_object(head, url and sigv2.claim_of(url, self._options.region))
            key = self._keys.lookup(url.key_id, url.token)
            proof = sigv2.verify(
                url, key, method=head.method, path=head.path, query=head.query, headers=head.headers,
                bucket=bucket_of_host(loopback.host_of(head.headers.get("host", "")), self._options.hosts),
                region=self._options.region, now_s=self._clock.now_us() / MICROS,
            )  # fmt: skip
        except sigv4.SigV4Error as error:
            raise errors.of_signature("s3", error) from None
        assert key is not None, "verify raises for an unknown key"
        return _principal(key), Place(key.account, self._options.region), proof

    def _signed_form(self, request: Request, head: _Head, request_id: str, fields: Mapping[str, str]) -> Call:
        """Who uploads by a form, from its policy's signature; AwsError."""
        target = Target("s3", None, "")
        try:
            claim = postsign.claim_of(fields, self._options.region)
            if claim is None:
                raise errors.of_signature("s3", None)
            place = claim.credential.region or self._options.region
            if not self._options.auth:
                principal = self._unverified(target, claim)
                return self._call(request, principal, Place(principal.account, place), head, request_id)
            key = self._keys.lookup(claim.credential.key_id, claim.token)
            key = postsign.verify(claim, fields.get("policy", ""), key, self._clock.now_us() / MICROS)
        except sigv4.SigV4Error as error:
            raise errors.of_signature("s3", error) from None
        return self._call(request, _principal(key), Place(key.account, place), head, request_id)

    async def _object(self, request: Request, head: _Head, claim: sigv4.Claim | None, request_id: str) -> Response:
        if head.method == "OPTIONS":
            return await self._s3.preflight(request, request_id)
        kind = head.headers.get("content-type", "").lower()
        if claim is None and head.method == "POST" and kind.startswith("multipart/form-data"):
            return await self._s3.form(
                request, request_id, lambda given: self._signed_form(request, head, request_id, given)
            )
        principal, place, proof = self._signed_url_v2(head) if claim is None else self._signed_object(head, claim)
        return await self._s3(self._call(request, principal, place, head, request_id), request, proof)

    async def _operation(
        self, request: Request, head: _Head, target: Target, claim: sigv4.Claim | None, request_id: str
    ) -> Response:
        service = target.service
        if service is None:
            raise errors.unknown_operation(_nobody(target, claim))
        try:
            async with asyncio.timeout(self._options.body_s):
                body = await _body_of(request, service.body_bytes_max)
        except TimeoutError:
            raise errors.too_slow(self._options.body_s) from None
        principal, place, _ = self._authenticate(head, target, claim, hashlib.sha256(body).hexdigest())
        body = unpacked(head.headers, body, service.body_bytes_max)
        fields = {}
        if target.protocol == "query":
            fields = _fields(head, body)
            target = Target("query", service, fields.get("Action", ""))
        call = self._call(request, principal, place, head, request_id)
        return await self._run(target, head, body, fields, call)

    async def _run(self, target: Target, head: _Head, body: bytes, fields: dict[str, str], call: Call) -> Response:
        """Decode, validate, call, encode."""
        service = target.service
        assert service is not None
        model = self._spec.operation(service.name, target.operation)
        if model is None:
            raise errors.unknown_operation(f"{service.title} has no operation {target.operation[:128]!r}.")
        operation = self._registry.find(service.name, target.operation)
        if operation is None or (target.protocol == "cbor" and not self._spec.speaks_cbor(service.name)):
            raise errors.not_served(service.title, target.operation, target.protocol)
        asked.name(call.asked, service, operation)
        with asked.watched(self._witness, call):
            members = _decoded(target, head, body, fields, model)
            asked.give(call.asked, members, model.input_shape)
            given = await _run_valid(operation, call, members, model.input_shape)
        return respond.answer(
            self._spec, target, model, given if isinstance(given, Answer) else Answer(given), call.request_id
        )


def _decoded(target: Target, head: _Head, body: bytes, fields: dict[str, str], model: OperationModel) -> Members:
    if target.protocol == "query":
        return query.parse(fields, model.input_shape)
    if target.protocol == "json":
        return json.parse(body, model.input_shape)
    if target.protocol == "cbor":
        return cbor.parse(body, model.input_shape)
    return rest_json.parse(rest_json.Head(head.path, head.query, head.headers), body, model)


async def _run_valid(operation: Operation, call: Call, members: Members, shape: Shape | None) -> Members | Answer:
    """The handler's answer, once the members are found to be as the shape and the operation want them; AwsError."""
    wrong = validate(members, shape)
    if wrong is not None:
        raise errors.invalid(operation.service, wrong)
    found = refused(operation, members, shape)
    if found is not None:
        raise errors.refused_field(operation.service, *found)
    try:
        return await operation.handler(call, members)
    except DomainError as error:
        raise errors.of_domain(operation.service, error) from error


def _principal(key: sigv4.Key) -> Principal:
    return Principal(
        key.account, key.arn, key.key_id, key.session, key.user_id, key.expires_s is not None, key.parent
    )  # fmt: skip


def _head_of(scope: Scope) -> _Head:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path = scope.get("raw_path") or scope["path"].encode()
    return _Head(scope["method"], path.decode("latin-1"), scope["query_string"].decode("latin-1"), headers)


async def _body_of(request: Request, body_bytes_max: int) -> bytes:
    """The whole body; AwsError as soon as it is known to be too long, ClientDisconnect."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > body_bytes_max:
        raise errors.too_large(body_bytes_max)
    chunks: list[bytes] = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > body_bytes_max:
            raise errors.too_large(body_bytes_max)
        chunks.append(chunk)
    return b"".join(chunks)


def _fields(head: _Head, body: bytes) -> dict[str, str]:
    """Form fields of a query request, from its query string and its body; Unreadable."""
    fields = query.form_fields(head.query)
    if head.headers.get("content-type", FORM).startswith(FORM):
        fields |= query.form_fields(body.decode("latin-1"))
    return fields


def _unforeseen(target: Target, head: _Head, error: Exception, request_id: str) -> AwsError:
    """The answer to an exception, which is logged here."""
    log = structlog.get_logger(__name__)
    facts = {"protocol": target.protocol, "operation": target.operation, "path": head.path}
    if is_full(error):
        log.error("A request found the disk full.", request_id=request_id, error=str(error), **facts)
        return errors.disk_full(target.protocol)
    if isinstance(error, StoreUnavailableError):
        log.warning("A request found the store away.", request_id=request_id, error=str(error), **facts)
        return errors.store_away(target.protocol)
    log.error("A request failed for a reason that nobody foresaw.", request_id=request_id, exc_info=error, **facts)
    return errors.internal(target.protocol)


def _nobody(target: Target, claim: sigv4.Claim | None) -> str:
    """Which service nobody answers for."""
    signing = claim.credential.service if claim is not None else ""
    operation = f" with an operation {target.operation[:128]!r}" if target.operation else ""
    return f"Clary has no service {signing[:64]!r}{operation}."


def _with_request_id(send: Send, target: Target, request_id: str) -> Send:
    """`send`, with the service's request-id header on answers that lack it."""
    name = b"x-amz-request-id" if target.protocol == "s3" else b"x-amzn-requestid"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.setdefault("headers", [])
            if not any(key.lower() == name for key, _ in headers):
                headers.append((name, request_id.encode()))
        await send(message)

    return sending
