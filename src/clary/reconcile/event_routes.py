"""Events to those who wait for them: of the bus to the targets of rules, of a topic to its subscribers.

What follows of an event is appended in the transaction that ends it: none is lost or made twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from clary.domain import sns_messages
from clary.domain.actions import BUS_ARN, TOPIC_ARN, function_arn
from clary.domain.event_inputs import input_for
from clary.domain.event_patterns import matches, parsed
from clary.domain.principal import Scope
from clary.domain.schedules import Times, next_due
from clary.domain.topics import Message, TopicSpec, takes
from clary.kit.ids import Ids, uuid_of
from clary.kit.instants import stamp_s
from clary.store import actions, rules, topics
from clary.store.deliveries import Waiting
from clary.store.outbox import ALARMS, BUS, SNS, Event
from clary.store.rules import RuleRecord
from clary.store.sns_key import Signer
from clary.store.topics import TopicRecord

KnownRules = dict[Scope, Sequence[RuleRecord]]


@dataclass(frozen=True)
class Routed:
    """What follows of an event."""

    outcome: str
    events: Sequence[Event] = ()
    ok: bool = True


@dataclass(frozen=True)
class Router:
    """What making events needs."""

    ids: Ids
    signer: Signer

    def routed(self, connection: Connection, event: Waiting, now_us: int, known: KnownRules) -> Routed:
        """What follows of an event for the bus or a topic. `known`: what this transaction has read."""
        if BUS_ARN.fullmatch(event.target_arn):
            if event.scope not in known:
                known[event.scope] = rules.of_scope(connection, event.scope)
            return self._of_bus(known[event.scope], event, now_us)
        return self._of_topic(connection, event, now_us)

    def _of_bus(self, known: Sequence[RuleRecord], event: Waiting, now_us: int) -> Routed:
        told = {"version": "0", "id": uuid_of(event.uid), **event.body}
        found = [
            rule
            for rule in known
            if rule.spec.enabled and rule.spec.pattern and matches(parsed(rule.spec.pattern), told)
        ]
        made = [one for rule in found for one in self.to_targets(rule, told, now_us)]
        return Routed(f"matched {len(found)} rules", made)

    def to_targets(self, rule: RuleRecord, told: dict[str, Any], now_us: int) -> list[Event]:
        """What the targets of a rule are sent of an event."""
        return [
            self._event(rule.scope, BUS, target.arn, input_for(target, told, rule.arn), now_us)
            for target in rule.spec.targets
        ]

    def _of_topic(self, connection: Connection, event: Waiting, now_us: int) -> Routed:
        found = TOPIC_ARN.fullmatch(event.target_arn)
        assert found is not None, "the loop looked"
        name, scope = found["name"], Scope(found["account"], found["region"])
        topic = topics.find(connection, scope, name)
        is_action = actions.find(connection, scope.account, name) is not None
        if scope.account != event.scope.account or (topic is None and not is_action):
            return Routed(f"There is no topic and no action {event.target_arn}.", ok=False)
        message = message_of(event)
        made: list[Event] = []
        if topic is not None:
            made += self._to_subscribers(connection, topic, message, event, now_us)
        if is_action:
            shown = topic or TopicRecord("", scope, name, TopicSpec())
            document = sns_messages.notification(self.signer, shown, message, "lambda", uuid_of(event.uid), now_us)
            body = sns_messages.function_event(document, f"{shown.arn}:action", "")
            made.append(self._event(scope, SNS, function_arn(scope, name), body, now_us))
        return Routed(f"published to {len(made)} subscribers", made)

    def _to_subscribers(
        self, connection: Connection, topic: TopicRecord, message: Message, event: Waiting, now_us: int
    ) -> list[Event]:
        made, documents = [], {}
        for one in topics.subscriptions_of(connection, topic):
            if one.confirmed_us is None or not takes(one.spec, message):
                continue
            if one.protocol not in documents:
                documents[one.protocol] = sns_messages.notification(
                    self.signer, topic, message, one.protocol, uuid_of(event.uid), now_us
                )
            document, leave = documents[one.protocol], sns_messages.unsubscribe_url(self.signer, one.arn)
            if one.protocol == "lambda":
                body = sns_messages.function_event(document, one.arn, leave)
                made.append(self._event(topic.scope, SNS, one.endpoint, body, now_us))
            else:
                made.append(self._event(topic.scope, SNS, one.arn, {**document, "UnsubscribeURL": leave}, now_us))
        return made

    def scheduled(self, rule: RuleRecord, now_us: int) -> list[Event]:
        """What the targets of a rule are sent when its schedule comes."""
        told = {
            "version": "0",
            "id": uuid_of(self.ids.ulid(now_us)),
            "detail-type": "Scheduled Event",
            "source": BUS,
            "account": rule.scope.account,
            "time": stamp_s(now_us),
            "region": rule.scope.region,
            "resources": [rule.arn],
            "detail": {},
        }
        return self.to_targets(rule, told, now_us)

    def _event(self, scope: Scope, source: str, target: str, body: Any, now_us: int) -> Event:
        return Event(self.ids.ulid(now_us), now_us, scope, source, target, body)


def due_us(rule: RuleRecord) -> int | None:
    """When the schedule of a rule comes next; None for never."""
    spec = rule.spec
    if not spec.schedule or not spec.enabled or not spec.targets:
        return None
    return next_due(Times(spec.schedule), rule.created_us, rule.ran_us or rule.created_us)


def is_due(rule: RuleRecord, now_us: int) -> bool:
    """Whether the schedule of a rule has come."""
    at_us = due_us(rule)
    return at_us is not None and at_us <= now_us


def is_routed(target_arn: str) -> bool:
    """Whether an event goes on to others: it is for the bus or a topic, not for one function or subscriber."""
    found = TOPIC_ARN.fullmatch(target_arn)
    return bool(BUS_ARN.fullmatch(target_arn)) or (found is not None and found["subscription"] is None)


def message_of(event: Waiting) -> Message:
    """The message that a topic publishes for an event: what a client published, or the event as JSON."""
    body = event.body
    if event.source == SNS:
        return Message(body["text"], body["subject"], body["by_protocol"], body["attributes"])
    subject = ""
    if event.source == ALARMS:
        subject = f'{body["NewStateValue"]}: "{body["AlarmName"]}" in {body["Region"]}'[:100]
    return Message(
        body if isinstance(body, str) else json.dumps(body, separators=(",", ":"), ensure_ascii=False), subject
    )
