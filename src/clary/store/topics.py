"""Rows of topics and subscriptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from clary.domain.actions import topic_arn
from clary.domain.principal import Scope
from clary.domain.topics import PENDING_US, SubscriptionSpec, TopicSpec
from clary.store.documents import unpack
from clary.store.tables import subscriptions, topics


@dataclass(frozen=True)
class TopicRecord:
    """One topic."""

    uid: str
    scope: Scope
    name: str
    spec: TopicSpec

    @property
    def arn(self) -> str:
        """`arn:aws:sns:REGION:ACCOUNT:NAME`."""
        return topic_arn(self.scope, self.name)


@dataclass(frozen=True)
class SubscriptionRecord:
    """One subscription."""

    uid: str
    topic: TopicRecord
    protocol: str
    endpoint: str
    token: str
    created_us: int
    confirmed_us: int | None
    spec: SubscriptionSpec

    @property
    def arn(self) -> str:
        """That of its topic, and an UUID."""
        return f"{self.topic.arn}:{self.uid}"


def of_scope(connection: Connection, scope: Scope) -> list[TopicRecord]:
    """Those of an account and region, by name."""
    mine = (topics.c.account == scope.account, topics.c.region == scope.region)
    return [_topic(row) for row in connection.execute(select(topics).where(*mine).order_by(topics.c.name))]


def find(connection: Connection, scope: Scope, name: str) -> TopicRecord | None:
    """One by its name."""
    mine = (topics.c.account == scope.account, topics.c.region == scope.region, topics.c.name == name)
    row = connection.execute(select(topics).where(*mine)).first()
    return None if row is None else _topic(row)


def subscriptions_of(connection: Connection, topic: TopicRecord) -> list[SubscriptionRecord]:
    """Of one topic, the oldest first."""
    mine = select(subscriptions).where(subscriptions.c.topic_uid == topic.uid)
    rows = connection.execute(mine.order_by(subscriptions.c.created_us, subscriptions.c.uid))
    return [_subscription(topic, row) for row in rows]


def find_subscription(connection: Connection, scope: Scope, topic_name: str, uid: str) -> SubscriptionRecord | None:
    """One of a topic."""
    topic = find(connection, scope, topic_name)
    if topic is None:
        return None
    mine = (subscriptions.c.topic_uid == topic.uid, subscriptions.c.uid == uid)
    row = connection.execute(select(subscriptions).where(*mine)).first()
    return None if row is None else _subscription(topic, row)


def prune_pending(connection: Connection, now_us: int) -> None:
    """Forget subscriptions that nobody confirmed in time."""
    late = (subscriptions.c.confirmed_us.is_(None), subscriptions.c.created_us < now_us - PENDING_US)
    connection.execute(delete(subscriptions).where(*late))


def _topic(row: Row[Any]) -> TopicRecord:
    return TopicRecord(row.uid, Scope(row.account, row.region), row.name, unpack(row.spec, TopicSpec))


def _subscription(topic: TopicRecord, row: Row[Any]) -> SubscriptionRecord:
    spec = unpack(row.spec, SubscriptionSpec)
    return SubscriptionRecord(
        row.uid, topic, row.protocol, row.endpoint, row.token, row.created_us, row.confirmed_us, spec
    )
