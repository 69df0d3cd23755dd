"""Answers of the S3 door as HTTP responses."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping

from botocore.model import OperationModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clary.edge.aws.operation import Answer
from clary.edge.aws.protocols import rest_xml
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.stream import ObjectStream

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_XML = "application/xml"
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_ROOTS: Mapping[str, str] = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}
"""Names of documents' elements, which the model does not give (S3 API reference, response syntax)."""
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class StreamResponse(Response):
    """A response whose body is an object, block by block. Stops, and lets go of the object, when the client goes."""

    def __init__(self, stream: ObjectStream, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status, headers=dict(headers))
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an ASGI signature
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for block in self._stream:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            await self._stream.aclose()


class SlowResponse(Response):
    """The answer to an operation that takes its time: 200 at once, blanks while it runs, then the document, or an error
    in its place. So S3 does it, and so clients that wait a minute for the next byte stay.
    """

    def __init__(self, document: asyncio.Task[bytes], every_s: float, request_id: str) -> None:
        """`document` gives the whole document, its declaration included."""
        super().__init__(status_code=200, headers=identity(request_id), media_type=_XML)
        del self.headers["content-length"]
        self._document = document
        self._every_s = every_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - an ASGI signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": DECLARATION, "more_body": True})
        while True:
            # To a client that has gone these go nowhere; what runs is finished all the same.
            await asyncio.wait({self._document}, timeout=self._every_s)
            if self._document.done():
                break
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
        body = self._document.result().removeprefix(DECLARATION)
        await send({"type": "http.response.body", "body": body, "more_body": False})


class GoneResponse(Response):
    """No answer: the client closed its connection."""

    async def __call__(self, *_: object) -> None:
        return


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def encode(model: OperationModel, answer: Answer, request_id: str, request: Request) -> Response:
    """The response to a served operation; S3Error for a header value that no header can hold."""
    if model.name == "GetBucketLocation":
        # The one document whose element is its only member.
        inner = rest_xml.element("LocationConstraint", answer.members["LocationConstraint"])
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{inner}'.replace(
            "<LocationConstraint>", f'<LocationConstraint xmlns="{_NAMESPACE}">', 1
        )
        return Response(body, 200, identity(request_id), media_type=_XML)
    encoded = rest_xml.serialise(
        model, answer.members, root=_ROOTS.get(model.name, ""), namespace=_NAMESPACE, status=answer.status
    )
    headers = {**encoded.headers, **answer.headers, **identity(request_id)}
    stream = answer.stream
    wrong = next((name for name, value in headers.items() if _UNSAFE.search(value) or not _latin(value)), None)
    if wrong is not None:
        if isinstance(stream, ObjectStream):
            stream.close()
        raise S3Error(
            "InvalidArgument",
            "Header value cannot be represented using ISO-8859-1.",
            ArgumentName=wrong,
            ArgumentValue=headers[wrong],
        )
    if isinstance(stream, ObjectStream):
        return StreamResponse(stream, encoded.status, headers)
    if request.method == "HEAD":
        return _Headless(encoded.status, headers)
    response = Response(encoded.body, encoded.status, headers)
    if encoded.body:
        response.headers["content-type"] = _XML
    return response


class _Headless(Response):
    """The answer to HEAD: a Content-Length of its own, and no body."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status, headers=dict(headers))
        if "Content-Length" not in headers and "content-length" in self.headers:
            del self.headers["content-length"]


def failure(error: S3Error, request_id: str, request: Request) -> Response:
    """The response to a refusal: S3's XML, without a body where HTTP allows none."""
    headers = {**error.headers, **identity(request_id)}
    if error.status == 304 or request.method == "HEAD":
        return _Headless(error.status, headers)
    path = request.scope.get("raw_path") or request.url.path.encode()
    body = error.document(path.decode("latin-1"), request_id, headers["x-amz-id-2"])
    return Response(body, error.status, headers, media_type=_XML)


def identity(request_id: str) -> dict[str, str]:
    """The two ids that S3 gives with every answer; the second is opaque and derived from the first."""
    host_id = base64.b64encode(f"clary:{request_id}".encode()).decode()
    return {"x-amz-request-id": request_id, "x-amz-id-2": host_id}


def _latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
