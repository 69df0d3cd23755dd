"""What subscribers of a topic are sent: documents, headers, and the event of a function. Pure.

Sources: SNS developer guide, "Parsing Amazon SNS message formats" and "Verifying the signatures of Amazon SNS
messages"; Lambda developer guide, "Using Lambda with Amazon SNS".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from clary.domain.topics import Message, TopicSpec
from clary.kit.instants import stamp_ms

PATH = "/clary/sns/"
NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"


class Signs(Protocol):
    """What documents are signed with (store/sns_key.py). Blocking."""

    @property
    def url(self) -> str:
        """Where clients reach the server."""
        ...

    @property
    def certificate_name(self) -> str:
        """The last part of SigningCertURL."""
        ...

    def sign(self, document: Mapping[str, str], version: str) -> str:
        """The signature of a document."""
        ...


class Topic(Protocol):
    """What a document tells of a topic."""

    @property
    def arn(self) -> str:
        """Its ARN."""
        ...

    @property
    def spec(self) -> TopicSpec:
        """Its attributes."""
        ...


def notification(
    signer: Signs, topic: Topic, message: Message, protocol: str, message_id: str, now_us: int
) -> dict[str, Any]:
    """The document of a message for one protocol, signed; without what is the subscription's own."""
    document: dict[str, Any] = {
        "Type": NOTIFICATION,
        "MessageId": message_id,
        "TopicArn": topic.arn,
        **({"Subject": message.subject} if message.subject else {}),
        "Message": message.by_protocol.get(protocol, message.text),
        "Timestamp": stamp_ms(now_us),
    }
    document |= _signature(signer, document, topic.spec.signature_version)
    if message.attributes:
        document["MessageAttributes"] = message.attributes
    return document


def confirmation(signer: Signs, topic: Topic, token: str, message_id: str, now_us: int) -> dict[str, Any]:
    """The document that asks an endpoint whether it wants the messages of a topic."""
    query = urlencode({"Action": "ConfirmSubscription", "TopicArn": topic.arn, "Token": token})
    document = {
        "Type": CONFIRMATION,
        "MessageId": message_id,
        "Token": token,
        "TopicArn": topic.arn,
        "Message": f"You have chosen to subscribe to the topic {topic.arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.",
        "SubscribeURL": f"{signer.url}{PATH}?{query}",
        "Timestamp": stamp_ms(now_us),
    }
    return document | _signature(signer, document, topic.spec.signature_version)


def _signature(signer: Signs, document: Mapping[str, str], version: str) -> dict[str, str]:
    return {
        "SignatureVersion": version,
        "Signature": signer.sign(document, version),
        "SigningCertURL": f"{signer.url}{PATH}{signer.certificate_name}",
    }


def unsubscribe_url(signer: Signs, subscription_arn: str) -> str:
    """Whoever visits it ends the subscription."""
    query = urlencode({"Action": "Unsubscribe", "SubscriptionArn": subscription_arn})
    return f"{signer.url}{PATH}?{query}"


def function_event(document: Mapping[str, Any], subscription_arn: str, unsubscribe: str) -> dict[str, Any]:
    """The event that a function gets of a notification."""
    renamed = {"SigningCertURL": "SigningCertUrl"}
    told = {renamed.get(name, name): value for name, value in document.items()}
    told = {"Subject": None, "MessageAttributes": {}, **told, "UnsubscribeUrl": unsubscribe}
    record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": subscription_arn, "Sns": told}
    return {"Records": [record]}


def headers_of(document: Mapping[str, Any], subscription_arn: str, *, raw: bool) -> dict[str, str]:
    """Headers of the POST of a document."""
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "user-agent": "Amazon Simple Notification Service Agent",
        "x-amz-sns-message-type": document["Type"],
        "x-amz-sns-message-id": document["MessageId"],
        "x-amz-sns-topic-arn": document["TopicArn"],
    }
    if document["Type"] == NOTIFICATION:
        headers["x-amz-sns-subscription-arn"] = subscription_arn
    if raw:
        headers["x-amz-sns-rawdelivery"] = "true"
    return headers


def post_body(document: Mapping[str, Any], *, raw: bool) -> bytes:
    """Body of the POST: the document, or the message alone."""
    if raw:
        return str(document["Message"]).encode()
    return json.dumps(document, indent=2, ensure_ascii=False).encode()
