"""What messages of topics point to: `GET /clary/sns/?Action=ConfirmSubscription&TopicArn=...&Token=...`,
`GET /clary/sns/?Action=Unsubscribe&SubscriptionArn=...`, and the certificate of signatures,
`GET /clary/sns/SimpleNotificationService-DIGEST.pem`.

None of them is signed: a token, and the UUID in a subscription's ARN, are told to the subscriber alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clary.control import topics
from clary.control.topics import SnsDesk
from clary.domain.errors import DomainError
from clary.domain.sns_messages import PATH
from clary.edge.aws.protocols.query import error_body, xml_text
from clary.kit.loopback import refusal
from clary.kit.threads import Threads

_NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/"


@dataclass(frozen=True)
class SnsPages:
    """What the pages work with."""

    at: SnsDesk
    threads: Threads
    auth: bool
    """Whether the server runs with --auth; without it, requests of foreign hosts and pages are refused."""
    hosts: tuple[str, ...]


def routes(pages: SnsPages) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def act(request: Request) -> Response:
        return await _act(pages, request)

    async def certificate(request: Request) -> Response:
        signer = pages.at.signer
        if str(request.path_params["name"]) != await pages.threads.run(lambda: signer.certificate_name):
            return Response("There is no such certificate.", 404)
        return Response(signer.certificate, media_type="application/x-pem-file")

    return [Route(PATH, act, methods=["GET"]), Route(PATH + "{name}", certificate, methods=["GET"])]


async def _act(pages: SnsPages, request: Request) -> Response:
    request_id = pages.at.desk.ids.request_id()
    get, asked = request.headers.get, request.query_params
    if not pages.auth:
        why = refusal(get("host"), get("origin"), get("sec-fetch-site"), pages.hosts)
        if why is not None:
            return _xml(403, error_body("AccessDenied", why, sender=True, request_id=request_id, namespace=_NAMESPACE))
    action = asked.get("Action", "")
    try:
        if action == "ConfirmSubscription":
            one = await topics.confirm(pages.at, asked.get("TopicArn", ""), asked.get("Token", ""))
            result = f"<SubscriptionArn>{xml_text(one.arn)}</SubscriptionArn>"
        elif action == "Unsubscribe":
            await topics.unsubscribe(pages.at, asked.get("SubscriptionArn", ""), None)
            result = ""
        else:
            text = "The page takes ConfirmSubscription and Unsubscribe."
            body = error_body("InvalidAction", text, sender=True, request_id=request_id, namespace=_NAMESPACE)
            return _xml(400, body)
    except DomainError as error:
        text = getattr(error, "message", "Topic does not exist")
        body = error_body("InvalidParameter", text, sender=True, request_id=request_id, namespace=_NAMESPACE)
        return _xml(400, body)
    tail = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    answer = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{result}</{action}Result>{tail}</{action}Response>'
    )
    return _xml(200, answer.encode())


def _xml(status: int, body: bytes) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "text/xml")
