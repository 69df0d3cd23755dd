"""Topics of SNS: made, set, subscribed to, published to. What is published is delivered by reconcile/action_loop.py."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, update

from clary.control.desk import Caller, Deed, Desk, drop_tags, put_tags, tags_of
from clary.domain.actions import NAME as ACTION_NAME
from clary.domain.actions import TOPIC_ARN, function_name
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.domain.principal import Scope
from clary.domain.sns_messages import confirmation
from clary.domain.topics import (
    NAME,
    PENDING_US,
    SUBSCRIPTIONS_MAX,
    TOPICS_MAX,
    Message,
    SubscriptionSpec,
    TopicSpec,
    check_endpoint,
    set_subscription,
    set_topic,
)
from clary.kit.ids import uuid_of
from clary.store import actions, deliveries, outbox
from clary.store import topics as rows
from clary.store.documents import pack
from clary.store.outbox import SNS
from clary.store.records import record
from clary.store.sns_key import Signer
from clary.store.tables import subscriptions, topics
from clary.store.topics import SubscriptionRecord, TopicRecord

TOPIC, SUBSCRIPTION = "topic", "subscription"


@dataclass(frozen=True)
class SnsDesk:
    """Where topics are worked on."""

    desk: Desk
    signer: Signer


async def create(
    at: SnsDesk, caller: Caller, name: str, attributes: Mapping[str, str], given: Mapping[str, str]
) -> TopicRecord:
    """A topic; the one that there is, if it is just that. Invalid, NotServed, LimitExceeded."""
    if not NAME.fullmatch(name):
        raise Invalid("Invalid parameter: Topic Name")
    spec = TopicSpec()
    for key, value in attributes.items():
        spec = set_topic(spec, key, value)
    now_us = at.desk.clock.now_us()
    made = TopicRecord(at.desk.ids.ulid(now_us), caller.scope, name, spec)

    def work(connection: Connection) -> TopicRecord:
        known = rows.find(connection, caller.scope, name)
        if known is not None:
            if any(set_topic(known.spec, key, value) != known.spec for key, value in attributes.items()):
                raise Invalid("Invalid parameter: Attributes Reason: Topic already exists with different attributes")
            if given and dict(given) != tags_of(connection, known.uid):
                raise Invalid("Invalid parameter: Tags Reason: Topic already exists with different tags")
            return known
        if len(rows.of_scope(connection, caller.scope)) >= TOPICS_MAX:
            raise LimitExceeded("topics", TOPICS_MAX, TOPIC)
        where = {"account": caller.scope.account, "region": caller.scope.region, "name": name}
        connection.execute(insert(topics).values(uid=made.uid, **where, created_us=now_us, spec=pack(spec)))
        put_tags(connection, made.uid, {}, dict(given))
        _audit(connection, caller, "CreateTopic", made.uid, made.arn, now_us)
        return made

    return await at.desk.store.write(work)


async def remove(at: SnsDesk, caller: Caller, arn: str) -> None:
    """Delete a topic and all subscriptions to it; none of that name is no error."""
    name = _topic_name(caller, arn)

    def work(connection: Connection) -> None:
        topic = rows.find(connection, caller.scope, name)
        if topic is not None:
            connection.execute(delete(subscriptions).where(subscriptions.c.topic_uid == topic.uid))
            connection.execute(delete(topics).where(topics.c.uid == topic.uid))
            drop_tags(connection, topic.uid)
            _audit(connection, caller, "DeleteTopic", topic.uid, topic.arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


async def listed(at: SnsDesk, caller: Caller) -> list[TopicRecord]:
    """Those of an account and region, by name."""
    return await at.desk.store.read(lambda connection: rows.of_scope(connection, caller.scope))


async def found(at: SnsDesk, caller: Caller, arn: str) -> tuple[TopicRecord, list[SubscriptionRecord]]:
    """A topic and its subscriptions, pending ones too. NotFound."""
    name = _topic_name(caller, arn)

    def work(connection: Connection) -> tuple[TopicRecord, list[SubscriptionRecord]]:
        topic = _topic(connection, caller.scope, name)
        return topic, rows.subscriptions_of(connection, topic)

    return await at.desk.store.read(work)


async def set_attribute(at: SnsDesk, caller: Caller, arn: str, key: str, value: str) -> None:
    """Set an attribute of a topic. NotFound, Invalid, NotServed."""
    name = _topic_name(caller, arn)

    def work(connection: Connection) -> None:
        topic = _topic(connection, caller.scope, name)
        spec = set_topic(topic.spec, key, value)
        connection.execute(update(topics).where(topics.c.uid == topic.uid).values(spec=pack(spec)))
        _audit(connection, caller, "SetTopicAttributes", topic.uid, topic.arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


# -- subscriptions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subscribing:
    """What is asked for."""

    topic_arn: str
    protocol: str
    endpoint: str
    attributes: Mapping[str, str]


async def subscribe(at: SnsDesk, caller: Caller, wish: Subscribing) -> SubscriptionRecord:
    """Subscribe an endpoint, or find that it is. An address of HTTP is asked first; a function is not.

    NotFound, Invalid, NotServed, LimitExceeded.
    """
    name = _topic_name(caller, wish.topic_arn)
    check_endpoint(wish.protocol, wish.endpoint, caller.scope.account)
    spec = SubscriptionSpec()
    for key, value in wish.attributes.items():
        spec = set_subscription(spec, key, value)
    now_us = at.desk.clock.now_us()

    def work(connection: Connection) -> SubscriptionRecord:
        topic = _topic(connection, caller.scope, name)
        held = rows.subscriptions_of(connection, topic)
        known = next((one for one in held if (one.protocol, one.endpoint) == (wish.protocol, wish.endpoint)), None)
        if known is not None:
            if wish.attributes and known.spec != spec:
                reason = "Subscription already exists with different attributes"
                raise Invalid(f"Invalid parameter: Attributes Reason: {reason}")
            if known.confirmed_us is None:
                _ask(at, connection, caller, known, now_us)
            return known
        if len(held) >= SUBSCRIPTIONS_MAX:
            raise LimitExceeded("subscriptions", SUBSCRIPTIONS_MAX, SUBSCRIPTION)
        uid, token = at.desk.ids.request_id(), secrets.token_hex(32)
        asked = SubscriptionRecord(uid, topic, wish.protocol, wish.endpoint, token, now_us, None, spec)
        made = _made(connection, caller, asked)
        if made.confirmed_us is None:
            _ask(at, connection, caller, made, now_us)
        _audit(connection, caller, "Subscribe", topic.uid, made.arn, now_us)
        return made

    return await at.desk.store.write(work)


def _made(connection: Connection, caller: Caller, asked: SubscriptionRecord) -> SubscriptionRecord:
    """Write what is asked for; a function's needs nobody's confirmation."""
    made = asked
    if asked.protocol == "lambda":
        function = function_name(asked.endpoint, caller.scope.account) or ""
        if actions.find(connection, caller.scope.account, function) is None:
            raise Invalid("Invalid parameter: Lambda endpoint ARN: there is no such action (clary actions add)")
        made = replace(asked, confirmed_us=asked.created_us)
    values = {"uid": made.uid, "topic_uid": made.topic.uid, "protocol": made.protocol, "endpoint": made.endpoint}
    more = {"token": made.token, "created_us": made.created_us, "confirmed_us": made.confirmed_us}
    connection.execute(insert(subscriptions).values(**values, **more, spec=pack(made.spec)))
    return made


def _ask(at: SnsDesk, connection: Connection, caller: Caller, one: SubscriptionRecord, now_us: int) -> None:
    """Send an address the token that confirms it."""
    uid = at.desk.ids.ulid(now_us)
    document = confirmation(at.signer, one.topic, one.token, uuid_of(uid), now_us)
    outbox.append(connection, outbox.Event(uid, now_us, caller.scope, SNS, one.arn, document))


async def confirm(at: SnsDesk, topic_arn: str, token: str) -> SubscriptionRecord:
    """Confirm what a token was sent for; again is no error. It takes nothing but the token. Invalid, NotFound."""
    parts = TOPIC_ARN.fullmatch(topic_arn)
    if parts is None or parts["subscription"]:
        raise Invalid("Invalid parameter: TopicArn")
    now_us = at.desk.clock.now_us()

    def work(connection: Connection) -> SubscriptionRecord:
        topic = _topic(connection, Scope(parts["account"], parts["region"]), parts["name"])
        for one in rows.subscriptions_of(connection, topic):
            if not hmac.compare_digest(one.token.encode(), token.encode("utf-8", "replace")):
                continue
            if one.confirmed_us is not None:
                return one
            if one.created_us >= now_us - PENDING_US:
                mine = subscriptions.c.uid == one.uid
                connection.execute(update(subscriptions).where(mine).values(confirmed_us=now_us))
                return replace(one, confirmed_us=now_us)
        raise Invalid("Invalid token")

    return await at.desk.store.write(work)


async def unsubscribe(at: SnsDesk, arn: str, caller: Caller | None) -> None:
    """End a subscription; none of that ARN is no error. `caller`: None for who knows its address. Invalid."""
    parts = _subscription_parts(caller, arn)

    def work(connection: Connection) -> None:
        one = rows.find_subscription(connection, *parts)
        if one is not None:
            connection.execute(delete(subscriptions).where(subscriptions.c.uid == one.uid))
            if caller is not None:
                _audit(connection, caller, "Unsubscribe", one.topic.uid, one.arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


async def subscription(at: SnsDesk, caller: Caller, arn: str) -> SubscriptionRecord:
    """One subscription. NotFound, Invalid."""
    parts = _subscription_parts(caller, arn)
    one = await at.desk.store.read(lambda connection: rows.find_subscription(connection, *parts))
    if one is None:
        raise NotFound(SUBSCRIPTION, arn, arn)
    return one


async def change_subscription(at: SnsDesk, caller: Caller, arn: str, key: str, value: str) -> None:
    """Set an attribute of a subscription. NotFound, Invalid, NotServed."""
    parts = _subscription_parts(caller, arn)

    def work(connection: Connection) -> None:
        one = rows.find_subscription(connection, *parts)
        if one is None:
            raise NotFound(SUBSCRIPTION, arn, arn)
        spec = pack(set_subscription(one.spec, key, value))
        connection.execute(update(subscriptions).where(subscriptions.c.uid == one.uid).values(spec=spec))
        _audit(connection, caller, "SetSubscriptionAttributes", one.topic.uid, arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


async def all_subscriptions(at: SnsDesk, caller: Caller) -> list[SubscriptionRecord]:
    """To all topics of an account and region, by topic and age."""

    def work(connection: Connection) -> list[SubscriptionRecord]:
        return [
            one for topic in rows.of_scope(connection, caller.scope) for one in rows.subscriptions_of(connection, topic)
        ]

    return await at.desk.store.read(work)


# -- messages ----------------------------------------------------------------------------------------------------------


async def publish(at: SnsDesk, caller: Caller, arn: str, messages: Sequence[Message]) -> list[str]:
    """Publish messages in their order to a topic, or to the action of its name; their ids. NotFound, LimitExceeded."""
    name = _topic_name(caller, arn)
    now_us = at.desk.clock.now_us()
    uids = [at.desk.ids.ulid(now_us) for _ in messages]

    def work(connection: Connection) -> None:
        is_action = ACTION_NAME.fullmatch(name) and actions.find(connection, caller.scope.account, name) is not None
        if rows.find(connection, caller.scope, name) is None and not is_action:
            raise NotFound(TOPIC, name, arn)
        if deliveries.count_for(connection, arn) + len(messages) > deliveries.WAITING_MAX:
            raise LimitExceeded("messages that wait for a topic", deliveries.WAITING_MAX, "messages")
        outbox.append(
            connection,
            *(
                outbox.Event(uid, now_us, caller.scope, SNS, arn, _body(message))
                for uid, message in zip(uids, messages, strict=True)
            ),
        )

    await at.desk.store.write(work)
    return [uuid_of(uid) for uid in uids]


def _body(message: Message) -> dict[str, object]:
    return {
        "text": message.text,
        "subject": message.subject,
        "by_protocol": message.by_protocol,
        "attributes": message.attributes,
    }


# -- tags --------------------------------------------------------------------------------------------------------------


async def add_tags(at: SnsDesk, caller: Caller, arn: str, new: dict[str, str]) -> None:
    """Add or overwrite tags of a topic. NotFound, Invalid, LimitExceeded."""
    name = _topic_name(caller, arn)

    def work(connection: Connection) -> None:
        topic = _topic(connection, caller.scope, name)
        put_tags(connection, topic.uid, tags_of(connection, topic.uid), new)
        _audit(connection, caller, "TagResource", topic.uid, topic.arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


async def remove_tags(at: SnsDesk, caller: Caller, arn: str, keys: Sequence[str]) -> None:
    """Remove tags; keys that are not there are no error. NotFound."""
    name = _topic_name(caller, arn)

    def work(connection: Connection) -> None:
        topic = _topic(connection, caller.scope, name)
        drop_tags(connection, topic.uid, keys)
        _audit(connection, caller, "UntagResource", topic.uid, topic.arn, at.desk.clock.now_us())

    await at.desk.store.write(work)


async def list_tags(at: SnsDesk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags of a topic by key. NotFound."""
    name = _topic_name(caller, arn)
    return await at.desk.store.read(lambda connection: tags_of(connection, _topic(connection, caller.scope, name).uid))


def _topic_name(caller: Caller, arn: str) -> str:
    """The name in a topic's ARN; Invalid for another account's or region's."""
    parts = TOPIC_ARN.fullmatch(arn)
    if parts is None or parts["subscription"]:
        raise Invalid("Invalid parameter: TopicArn")
    if Scope(parts["account"], parts["region"]) != caller.scope:
        raise Invalid("Invalid parameter: TopicArn Reason: the topic is of another account or region")
    return parts["name"]


def _subscription_parts(caller: Caller | None, arn: str) -> tuple[Scope, str, str]:
    parts = TOPIC_ARN.fullmatch(arn)
    if parts is None or not parts["subscription"]:
        raise Invalid("Invalid parameter: SubscriptionArn Reason: An ARN must have at least 6 elements")
    scope = Scope(parts["account"], parts["region"])
    if caller is not None and scope != caller.scope:
        raise Invalid("Invalid parameter: SubscriptionArn Reason: the subscription is of another account or region")
    return scope, parts["name"], parts["subscription"][1:]


def _topic(connection: Connection, scope: Scope, name: str) -> TopicRecord:
    topic = rows.find(connection, scope, name)
    if topic is None:
        raise NotFound(TOPIC, name, f"arn:aws:sns:{scope.region}:{scope.account}:{name}")
    return topic


def _audit(connection: Connection, caller: Caller, verb: str, uid: str, arn: str, now_us: int) -> None:
    record(connection, caller, Deed(verb, uid, arn, now_us, TOPIC))
