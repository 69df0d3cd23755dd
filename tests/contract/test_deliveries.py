"""Actions, topics, rules and the outbox on either store."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection

from clary.control import actions, rules, topics
from clary.control.desk import Desk
from clary.control.topics import SnsDesk, Subscribing
from clary.domain.actions import ActionSpec
from clary.domain.errors import AlreadyExists, NotFound
from clary.domain.event_inputs import TargetSpec
from clary.domain.rules import RuleSpec
from clary.domain.topics import Message
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.store import actions as action_rows
from clary.store import deliveries, outbox
from clary.store import rules as rule_rows
from clary.store import topics as topic_rows
from clary.store.actions import Run
from clary.store.base import Store
from clary.store.outbox import Event
from clary.store.sns_key import Signer
from tests.support.hosting import CALLER

ODD = "\0\ud83d\ude00 '\"%_\\".encode("utf-16", "surrogatepass").decode("utf-16")
"""Characters that databases stumble over."""


def events(*named: tuple[str, str]) -> list[Event]:
    return [Event(uid.rjust(26, "0"), 10, CALLER.scope, "test", target, {"of": ODD}) for uid, target in named]


async def test_the_outbox_gives_the_oldest_of_each_target(store: Store) -> None:
    made = events(("9", "a"), ("8", "b"), ("7", "a"))
    await store.write(lambda connection: outbox.append(connection, *made))
    first, second = await store.read(deliveries.heads)
    whole = [
        await store.read(lambda connection, seq=one.seq: deliveries.waiting(connection, seq)) for one in (first, second)
    ]
    assert [(one.target_arn, int(one.uid)) for one in whole] == [("a", 9), ("b", 8)]
    assert whole[0].body == {"of": ODD}
    assert await store.read(lambda connection: deliveries.count_for(connection, "a")) == 2

    def work(connection: Connection) -> None:
        deliveries.begin(connection, first.seq, 1)
        deliveries.again(connection, first.seq, 500, "failed")
        deliveries.finish(connection, second.seq, 20, "delivered")

    await store.write(work)
    (head,) = await store.read(deliveries.heads)
    assert (head.seq, head.next_us, head.waiting) == (first.seq, 500, 2)
    (behind,) = await store.read(lambda connection: deliveries.behind(connection, head, 10))
    assert int(behind.uid) == 7
    assert (await store.read(lambda connection: deliveries.waiting(connection, head.seq))).attempts == 1
    both = await store.read(lambda connection: deliveries.waiting_for(connection, ["a", "b"], 10))
    assert [int(one.uid) for one in both] == [9, 7]
    await store.write(deliveries.prune)


async def test_actions_and_their_runs(store: Store) -> None:
    desk = Desk(store, VirtualClock(), SystemIds())
    spec = ActionSpec(command=("sh", "-c", "echo 'a b'"), timeout_s=2.5)
    await actions.add(desk, CALLER, "f", spec)
    with pytest.raises(AlreadyExists):
        await actions.add(desk, CALLER, "f", spec)
    assert [one.spec for one in await actions.listed(desk, CALLER)] == [spec]
    account = CALLER.scope.account

    def work(connection: Connection) -> None:
        for number in range(action_rows.RUNS_KEPT + 5):
            run = Run(f"{number:026}", account, "f", "e", "test", 1, number)
            action_rows.begin_run(connection, run)
        action_rows.end_run(connection, f"{50:026}", 99, "failed", "why", "x" * 10_000)
        action_rows.lose_runs(connection, 100)

    await store.write(work)
    runs = await actions.runs(desk, CALLER, "f")
    assert (len(runs), runs[0].started_us, runs[0].outcome) == (action_rows.RUNS_KEPT, 104, "lost")
    ended = next(run for run in runs if run.started_us == 50)
    assert (ended.outcome, ended.reason, len(ended.output)) == ("failed", "why", action_rows.OUTPUT_CHARS_MAX)
    await actions.remove(desk, CALLER, "f")
    with pytest.raises(NotFound):
        await actions.runs(desk, CALLER, "f")


async def test_topics_and_subscriptions(store: Store, tmp_path: Path) -> None:
    clock = VirtualClock()
    at = SnsDesk(Desk(store, clock, SystemIds()), Signer(tmp_path / "sns.pem", "http://127.0.0.1:1", clock))
    topic = await topics.create(at, CALLER, "t", {"DisplayName": "a"}, {"k": "v"})
    made = await topics.subscribe(
        at, CALLER, Subscribing(topic.arn, "http", "http://a/", {"FilterPolicy": '{"a": [1]}'})
    )
    await topics.confirm(at, topic.arn, made.token)
    (held,) = await topics.all_subscriptions(at, CALLER)
    assert (held.uid, held.spec.filter, held.confirmed_us is None) == (made.uid, '{"a": [1]}', False)
    await topics.publish(at, CALLER, topic.arn, [Message(ODD, attributes={"a": {"Type": "String", "Value": ODD}})])
    waiting = await store.read(lambda connection: deliveries.waiting_for(connection, [topic.arn], 1))
    assert waiting[0].body["text"] == ODD
    await store.write(lambda connection: topic_rows.prune_pending(connection, 2**62))
    await topics.set_attribute(at, CALLER, topic.arn, "SignatureVersion", "2")
    assert await topics.list_tags(at, CALLER, topic.arn) == {"k": "v"}
    await topics.remove(at, CALLER, topic.arn)
    assert await topics.listed(at, CALLER) == await topics.all_subscriptions(at, CALLER) == []


async def test_rules(store: Store) -> None:
    desk = Desk(store, VirtualClock(), SystemIds())
    for name in ("b", "B", "a_b", "a.b"):
        await rules.put(desk, CALLER, name, RuleSpec(pattern='{"source": ["x"]}', description=ODD), {})
    assert [rule.name for rule in await rules.listed(desk, CALLER)] == ["B", "a.b", "a_b", "b"]
    target = TargetSpec("t", f"arn:aws:lambda:r:{CALLER.scope.account}:function:f", paths={"a": "$.b"}, template="<a>")
    await rules.put_targets(desk, CALLER, "b", [target])
    rule = await rules.found(desk, CALLER, "b")
    assert (rule.spec.targets, rule.spec.description, rule.ran_us) == ((target,), ODD, None)
    await store.write(lambda connection: rule_rows.note_run(connection, rule.uid, 7))
    assert (await rules.found(desk, CALLER, "b")).ran_us == 7
    assert await rules.remove_targets(desk, CALLER, "b", ["t", "u"]) == ["u"]
    await rules.remove(desk, CALLER, "b")
    await rules.put_events(desk, CALLER, [rules.Entry("x", "T", {"a": ODD}, (ODD,), None)])
