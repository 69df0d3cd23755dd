"""What subscribers of a topic are sent: documents and their signatures, headers, and the event of a function.

Sources: SNS developer guide, "Parsing Amazon SNS message formats" and "Verifying the signatures of Amazon SNS
messages"; Lambda developer guide, "Using Lambda with Amazon SNS".
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from clary.domain.topics import Message
from clary.kit.clock import MICROS
from clary.store.seal import write_secret
from clary.store.topics import SubscriptionRecord, TopicRecord

PATH = "/clary/sns/"
NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"
_SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")
"""What a signature covers, in its order; what a document lacks is left out."""
_YEARS = 30


class Signer:
    """The server's own key for messages of topics, and its certificate; made on first use."""

    def __init__(self, path: Path, url: str) -> None:
        """`path`: of key and certificate, PEM, 0600. `url`: where clients reach the server."""
        self._path = path
        self.url = url
        self._loaded: tuple[rsa.RSAPrivateKey, bytes] | None = None

    @property
    def certificate(self) -> bytes:
        """The certificate, PEM. Blocking."""
        return self._load()[1]

    @property
    def certificate_name(self) -> str:
        """The last part of SigningCertURL. Blocking."""
        return f"SimpleNotificationService-{hashlib.sha256(self.certificate).hexdigest()[:32]}.pem"

    def sign(self, document: Mapping[str, str], version: str) -> str:
        """The signature of a document: version 1 uses SHA1, 2 SHA256, as SNS does. Blocking."""
        text = "".join(f"{name}\n{document[name]}\n" for name in _SIGNED if name in document)
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - what SNS's version 1 is
        return base64.b64encode(self._load()[0].sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()

    def _load(self) -> tuple[rsa.RSAPrivateKey, bytes]:
        if self._loaded is None:
            if not self._path.exists():
                write_secret(self._path, _made())
            pem = self._path.read_bytes()
            key = serialization.load_pem_private_key(pem, None)
            assert isinstance(key, rsa.RSAPrivateKey), "it is made so"
            certificate = x509.load_pem_x509_certificate(pem)
            self._loaded = key, certificate.public_bytes(serialization.Encoding.PEM)
        return self._loaded


def _made() -> bytes:
    """A new key and a certificate of its own, PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clary sns")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return own + certificate.public_bytes(pem)


def stamp(at_us: int) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(at_us / MICROS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def notification(
    signer: Signer, topic: TopicRecord, message: Message, protocol: str, message_id: str, now_us: int
) -> dict[str, Any]:
    """The document of a message for one protocol, signed; without what is the subscription's own."""
    document: dict[str, Any] = {
        "Type": NOTIFICATION,
        "MessageId": message_id,
        "TopicArn": topic.arn,
        **({"Subject": message.subject} if message.subject else {}),
        "Message": message.by_protocol.get(protocol, message.text),
        "Timestamp": stamp(now_us),
    }
    document |= _signature(signer, document, topic.spec.signature_version)
    if message.attributes:
        document["MessageAttributes"] = message.attributes
    return document


def confirmation(signer: Signer, subscription: SubscriptionRecord, message_id: str, now_us: int) -> dict[str, Any]:
    """The document that asks an endpoint whether it wants the messages of a topic."""
    topic = subscription.topic
    query = urlencode({"Action": "ConfirmSubscription", "TopicArn": topic.arn, "Token": subscription.token})
    document = {
        "Type": CONFIRMATION,
        "MessageId": message_id,
        "Token": subscription.token,
        "TopicArn": topic.arn,
        "Message": f"You have chosen to subscribe to the topic {topic.arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.",
        "SubscribeURL": f"{signer.url}{PATH}?{query}",
        "Timestamp": stamp(now_us),
    }
    return document | _signature(signer, document, topic.spec.signature_version)


def _signature(signer: Signer, document: Mapping[str, str], version: str) -> dict[str, str]:
    return {
        "SignatureVersion": version,
        "Signature": signer.sign(document, version),
        "SigningCertURL": f"{signer.url}{PATH}{signer.certificate_name}",
    }


def unsubscribe_url(signer: Signer, subscription_arn: str) -> str:
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
