"""SNS: subscriptions to topics."""

from __future__ import annotations

import json

from clary.control import topics
from clary.control.topics import SnsDesk, Subscribing
from clary.domain import errors as domain
from clary.edge.aws.operation import Call, Members, Operation
from clary.edge.aws.resources.members import caller_of
from clary.edge.aws.resources.sns import cut, operation
from clary.store.topics import SubscriptionRecord

PENDING = "PendingConfirmation"


def operations(at: SnsDesk) -> tuple[Operation, ...]:
    """Subscriptions."""
    who = {"AuthenticateOnUnsubscribe": "Whoever has the UnsubscribeURL of a message may end its subscription."}
    wish = ("TopicArn", "Protocol", "Endpoint", "Attributes", "ReturnSubscriptionArn")
    one = ("SubscriptionArn", "AttributeName", "AttributeValue")
    return (
        operation(at, "Subscribe", _subscribe, wish),
        operation(at, "ConfirmSubscription", _confirm, ("TopicArn", "Token"), who),
        operation(at, "Unsubscribe", _unsubscribe, one[:1]),
        operation(at, "ListSubscriptions", _list, ("NextToken",)),
        operation(at, "ListSubscriptionsByTopic", _list_by_topic, ("TopicArn", "NextToken")),
        operation(at, "GetSubscriptionAttributes", _get, one[:1]),
        operation(at, "SetSubscriptionAttributes", _set, one),
    )


async def _subscribe(at: SnsDesk, call: Call, members: Members) -> Members:
    endpoint = members.get("Endpoint", "")
    if not endpoint:
        raise domain.Invalid("Invalid parameter: Endpoint")
    wish = Subscribing(members["TopicArn"], members["Protocol"], endpoint, members.get("Attributes", {}))
    made = await topics.subscribe(at, caller_of(call), wish)
    told = made.confirmed_us is not None or members.get("ReturnSubscriptionArn", False)
    return {"SubscriptionArn": made.arn if told else "pending confirmation"}


async def _confirm(at: SnsDesk, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    return {"SubscriptionArn": (await topics.confirm(at, members["TopicArn"], members["Token"])).arn}


async def _unsubscribe(at: SnsDesk, call: Call, members: Members) -> None:
    await topics.unsubscribe(at, members["SubscriptionArn"], caller_of(call))


async def _list(at: SnsDesk, call: Call, members: Members) -> Members:
    return _page(call, "ListSubscriptions", members, await topics.all_subscriptions(at, caller_of(call)))


async def _list_by_topic(at: SnsDesk, call: Call, members: Members) -> Members:
    _, held = await topics.found(at, caller_of(call), members["TopicArn"])
    return _page(call, "ListSubscriptionsByTopic", members, held)


def _page(call: Call, name: str, members: Members, held: list[SubscriptionRecord]) -> Members:
    by_arn = {one.arn: one for one in held}
    shown, more = cut(call, name, members, list(by_arn))
    return {"Subscriptions": [_line(by_arn[arn]) for arn in shown], **more}


def _line(one: SubscriptionRecord) -> dict[str, str]:
    return {
        "SubscriptionArn": PENDING if one.confirmed_us is None else one.arn,
        "Owner": one.topic.scope.account,
        "Protocol": one.protocol,
        "Endpoint": one.endpoint,
        "TopicArn": one.topic.arn,
    }


async def _get(at: SnsDesk, call: Call, members: Members) -> Members:
    one = await topics.subscription(at, caller_of(call), members["SubscriptionArn"])
    attributes = {
        **_line(one),
        "SubscriptionArn": one.arn,
        "PendingConfirmation": json.dumps(one.confirmed_us is None),
        "ConfirmationWasAuthenticated": json.dumps(one.protocol == "lambda"),
        "RawMessageDelivery": json.dumps(one.spec.raw),
    }
    if one.spec.filter:
        attributes["FilterPolicy"] = one.spec.filter
        attributes["FilterPolicyScope"] = "MessageBody" if one.spec.filter_body else "MessageAttributes"
    return {"Attributes": attributes}


async def _set(at: SnsDesk, call: Call, members: Members) -> None:
    value = members.get("AttributeValue", "")
    await topics.change_subscription(
        at, caller_of(call), members["SubscriptionArn"], members["AttributeName"], value
    )  # fmt: skip
