"""Answers and errors as HTTP responses, in the form of each protocol."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import orjson
from botocore.model import OperationModel, StructureShape
from starlette.responses import Response, StreamingResponse

from clary.edge.aws.detect import Target
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Answer
from clary.edge.aws.protocols import cbor, json, query, rest_json
from clary.edge.aws.spec import Service, Spec
from clary.kit.cbor import encode


def _json_type(service: Service | None, spec: Spec) -> str:
    version = "1.1" if service is None else spec.service(service.name).metadata.get("jsonVersion", "1.1")
    return f"application/x-amz-json-{version}"


def answer(spec: Spec, target: Target, model: OperationModel, given: Answer, request_id: str) -> Response:
    """A handler's answer. KeyError for a member that the output shape lacks: a bug of the handler."""
    assert target.service is not None, "S3 answers for itself"
    headers = {"x-amzn-RequestId": request_id, **given.headers}
    status = given.status or model.http.get("responseCode", 200)
    if target.protocol == "query":
        body = query.serialise(given.members, model, request_id)
        return Response(body, status, headers, "text/xml")
    if target.protocol == "cbor":
        headers["smithy-protocol"] = cbor.PROTOCOL
        return Response(cbor.serialise(given.members, model.output_shape), status, headers, cbor.CONTENT_TYPE)
    if target.protocol == "json" and given.stream is not None:
        return StreamingResponse(given.stream, status, headers)
    if target.protocol == "json":
        shape = model.output_shape
        body = json.serialise(given.members, shape) if shape is not None else b""
        return Response(body, status, headers, _json_type(target.service, spec))
    parts = rest_json.serialise(given.members, model.output_shape)
    headers |= parts.headers
    if given.stream is not None:
        return StreamingResponse(given.stream, status, headers)
    payload = model.output_shape.serialization.get("payload") if model.output_shape is not None else None
    kind = "application/json" if payload is None else "application/octet-stream"
    if "Content-Type" not in headers:
        headers["Content-Type"] = kind
    return Response(parts.body, status, headers)


def error(spec: Spec, target: Target, found: AwsError, request_id: str) -> Response:
    """An error in the client's protocol."""
    if target.protocol == "s3":
        return s3_error(found, request_id)
    headers = {"x-amzn-RequestId": request_id}
    service = target.service
    shape = spec.error(service.name, found.code) if service is not None else None
    status = shape.metadata.get("error", {}).get("httpStatusCode", found.status) if shape is not None else found.status
    if target.protocol == "query":
        namespace = spec.service(service.name).metadata["xmlNamespace"] if service is not None else ""
        body = query.error_body(
            found.code, found.message, sender=found.sender, request_id=request_id, namespace=namespace
        )
        return Response(body, status, headers, "text/xml")
    if target.protocol == "rest-json":
        headers["x-amzn-ErrorType"] = found.code
        body = orjson.dumps({_message_member(shape): found.message, **found.members})
        return Response(body, status, headers, "application/json")
    if service is not None and spec.service(service.name).is_query_compatible:
        # awsQueryCompatible: clients of the query protocol keep the code that they know.
        headers["x-amzn-query-error"] = f"{found.code};{'Sender' if found.sender else 'Receiver'}"
    kind = shape.name if shape is not None else found.code
    members = {"__type": kind, _message_member(shape): found.message, **found.members}
    if target.protocol == "cbor":
        headers["smithy-protocol"] = cbor.PROTOCOL
        return Response(encode(members), status, headers, cbor.CONTENT_TYPE)
    return Response(orjson.dumps(members), status, headers, _json_type(service, spec))


def _message_member(shape: StructureShape | None) -> str:
    """How an error's shape spells its message: typed SDKs look for that name alone."""
    members = shape.members if shape is not None else {}
    return next((name for name in members if name.lower() == "message"), "message")


def s3_error(found: AwsError, request_id: str) -> Response:
    """`<Error>` of S3."""
    root = Element("Error")
    rows = {
        "Code": found.code,
        "Message": found.message,
        **found.members,
        "RequestId": request_id,
        "HostId": request_id,
    }
    for name, text in rows.items():
        SubElement(root, name).text = query.xml_text(str(text))
    headers = {"x-amz-request-id": request_id, "x-amz-id-2": request_id}
    return Response(query.to_bytes(root), found.status, headers, "application/xml")
