"""Topics of SNS and subscriptions to them: what may be set, and which messages a subscription takes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.domain import event_patterns
from clary.domain.actions import check_url, function_name
from clary.domain.errors import Invalid, NotServed
from clary.kit.instants import MICROS

NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
TOPICS_MAX = 1_000
"""Of an account and region; SNS's own quota is 100,000."""
SUBSCRIPTIONS_MAX = 1_000
"""Of a topic; SNS's own quota is 12.5 million."""
MESSAGE_BYTES_MAX = 256 * 1024
SUBJECT_CHARS_MAX = 100
PENDING_US = 2 * 86_400 * MICROS
"""Life of a subscription that nobody confirms, and of its token, in microseconds."""
PROTOCOLS = ("http", "https", "lambda")
_OTHER = ("email", "email-json", "sms", "sqs", "application", "firehose")


@dataclass(frozen=True)
class TopicSpec:
    """What is set of a topic."""

    display_name: str = ""
    signature_version: str = "1"
    policy: str = ""
    """Kept: every access key of an account may do everything in it."""


@dataclass(frozen=True)
class SubscriptionSpec:
    """What is set of a subscription."""

    raw: bool = False
    """RawMessageDelivery."""
    filter: str = ""
    """FilterPolicy; empty: all messages."""
    filter_body: bool = False
    """FilterPolicyScope is MessageBody."""


@dataclass(frozen=True)
class Message:
    """One message as it was published."""

    text: str
    subject: str = ""
    by_protocol: Mapping[str, str] = field(default_factory=dict)
    """Texts for protocols, where MessageStructure was json."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`{"Type", "Value"}` by name."""


def check_endpoint(protocol: str, endpoint: str, account: str) -> None:
    """Raise Invalid or NotServed for what nothing can be delivered to."""
    if protocol in _OTHER:
        raise NotServed(f"The protocol {protocol}", f"Subscriptions are of {', '.join(PROTOCOLS)}.")
    if protocol not in PROTOCOLS:
        raise Invalid("Invalid parameter: Does not support this protocol string: " + protocol[:64])
    if protocol == "lambda":
        if function_name(endpoint, account) is None:
            raise Invalid("Invalid parameter: Lambda endpoint ARN")
        return
    if not endpoint.startswith(f"{protocol}://"):
        raise Invalid("Invalid parameter: Endpoint must match the specified protocol")
    check_url(endpoint)


def set_topic(spec: TopicSpec, name: str, value: str) -> TopicSpec:
    """A topic with an attribute set; Invalid, NotServed."""
    if name == "DisplayName":
        if len(value) > 100:
            raise Invalid("Invalid parameter: DisplayName Reason: at most 100 characters")
        return TopicSpec(value, spec.signature_version, spec.policy)
    if name == "SignatureVersion":
        if value not in ("1", "2"):
            raise Invalid("Invalid parameter: SignatureVersion Reason: 1 or 2")
        return TopicSpec(spec.display_name, value, spec.policy)
    if name == "Policy":
        return TopicSpec(spec.display_name, spec.signature_version, value)
    if name in ("FifoTopic", "ContentBasedDeduplication") and value == "false":
        return spec
    raise NotServed(f"The topic attribute {name}", "Attributes are DisplayName, SignatureVersion and Policy.")


def set_subscription(spec: SubscriptionSpec, name: str, value: str) -> SubscriptionSpec:
    """A subscription with an attribute set; Invalid, NotServed."""
    if name == "RawMessageDelivery":
        if value.lower() not in ("true", "false"):
            raise Invalid("Invalid parameter: Attributes Reason: RawMessageDelivery: Invalid value [" + value + "].")
        return SubscriptionSpec(value.lower() == "true", spec.filter, spec.filter_body)
    if name == "FilterPolicy":
        return SubscriptionSpec(spec.raw, _policy(value), spec.filter_body)
    if name == "FilterPolicyScope":
        if value not in ("MessageAttributes", "MessageBody"):
            raise Invalid("Invalid parameter: FilterPolicyScope: MessageAttributes or MessageBody")
        return SubscriptionSpec(spec.raw, spec.filter, value == "MessageBody")
    raise NotServed(
        f"The subscription attribute {name}", "Attributes are RawMessageDelivery, FilterPolicy and FilterPolicyScope."
    )


def _policy(text: str) -> str:
    if text in ("", "{}"):
        return ""
    try:
        event_patterns.parse(text)
    except Invalid as error:
        reason = error.message.replace("Event pattern", "the policy")
        raise Invalid(f"Invalid parameter: FilterPolicy: {reason}") from None
    return text


def takes(spec: SubscriptionSpec, message: Message) -> bool:
    """Whether a subscription wants a message."""
    if not spec.filter:
        return True
    pattern = event_patterns.parsed(spec.filter)
    if not spec.filter_body:
        return event_patterns.matches(pattern, {name: _value(one) for name, one in message.attributes.items()})
    try:
        body = json.loads(message.text)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and event_patterns.matches(pattern, body)


def _value(attribute: Mapping[str, str]) -> Any:
    kind, text = attribute["Type"], attribute["Value"]
    if kind == "Binary" or kind.startswith("Binary."):
        return None
    if kind in ("String.Array", "Number") or kind.startswith("Number."):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
