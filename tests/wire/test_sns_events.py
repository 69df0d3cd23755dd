"""SNS and EventBridge through a door: pages, tags, what is idempotent, and errors in the services' codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import select

from clary.control.actions import add
from clary.control.desk import Caller, Desk
from clary.control.topics import SnsDesk
from clary.domain.actions import ActionSpec
from clary.domain.principal import Principal, Scope
from clary.edge.aws.resources import events, sns, sns_subscriptions
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.store.sns_key import Signer
from clary.store.sqlite import SqliteStore
from clary.store.tables import events_out
from tests.support.door import ACCOUNT, REGION, Served, serve_door

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "clary.db")
    yield made
    made.close()


@pytest.fixture
def served(store: SqliteStore, tmp_path: Path) -> Iterator[Served]:
    desk = Desk(store, VirtualClock(), SystemIds())
    at = SnsDesk(desk, Signer(tmp_path / "sns.pem", "http://127.0.0.1:1", desk.clock))
    with serve_door((*events.operations(desk), *sns.operations(at), *sns_subscriptions.operations(at))) as served:
        yield served


def code_of(work: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as refused:
        work(**members)
    return str(refused.value.response["Error"]["Code"])


async def put_action(store: SqliteStore) -> None:
    caller = Caller(Principal(ACCOUNT, "arn", "k"), Scope(ACCOUNT, REGION), "r")
    await add(Desk(store, VirtualClock(), SystemIds()), caller, "f", ActionSpec(command=("true",)))


def test_topics_come_in_pages(served: Served) -> None:
    client = served.client("sns")
    for number in range(101):
        client.create_topic(Name=f"t{number:03}")
    pages = [len(page["Topics"]) for page in client.get_paginator("list_topics").paginate()]
    assert pages == [100, 1]
    assert code_of(client.list_topics, NextToken="x") == "InvalidParameter"


def test_what_there_is_is_made_again_only_as_it_is(served: Served) -> None:
    client = served.client("sns")
    topic = client.create_topic(Name="t", Attributes={"DisplayName": "T"}, Tags=[{"Key": "a", "Value": "1"}])[
        "TopicArn"
    ]
    assert client.create_topic(Name="t", Attributes={"DisplayName": "T"})["TopicArn"] == topic
    assert code_of(client.create_topic, Name="t", Attributes={"DisplayName": "U"}) == "InvalidParameter"
    assert code_of(client.create_topic, Name="t", Tags=[{"Key": "a", "Value": "2"}]) == "InvalidParameter"
    assert code_of(client.create_topic, Name="t.fifo") == "InvalidParameter"
    assert code_of(client.create_topic, Name="f", Attributes={"FifoTopic": "true"}) == "InvalidParameter"
    assert client.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsPending"] == "0"
    client.tag_resource(ResourceArn=topic, Tags=[{"Key": "b", "Value": "2"}])
    client.untag_resource(ResourceArn=topic, TagKeys=["a"])
    assert client.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "b", "Value": "2"}]
    client.delete_topic(TopicArn=topic)
    client.delete_topic(TopicArn=topic)
    assert code_of(client.get_topic_attributes, TopicArn=topic) == "NotFound"
    assert code_of(client.list_tags_for_resource, ResourceArn=topic) == "ResourceNotFound"
    assert code_of(client.publish, TopicArn=topic.replace(ACCOUNT, "999999999999"), Message="x") == "InvalidParameter"
    assert code_of(client.publish, Message="x") == "InvalidParameter"


def test_subscriptions_are_confirmed_by_their_token_alone(served: Served, store: SqliteStore) -> None:
    client = served.client("sns")
    topic = client.create_topic(Name="t")["TopicArn"]
    wish = {"TopicArn": topic, "Protocol": "https", "Endpoint": "https://example.org/x"}
    arn = client.subscribe(**wish, ReturnSubscriptionArn=True)["SubscriptionArn"]
    client.subscribe(**wish)
    assert len(client.list_subscriptions()["Subscriptions"]) == 1
    assert code_of(client.subscribe, **wish, Attributes={"RawMessageDelivery": "true"}) == "InvalidParameter"
    assert code_of(client.subscribe, **{**wish, "TopicArn": topic + "x"}) == "NotFound"
    assert code_of(client.confirm_subscription, TopicArn=topic, Token="0" * 64) == "InvalidParameter"
    with store._reader.begin() as connection:
        asked = [json.loads(row.body) for row in connection.execute(select(events_out))]
    assert len(asked) == 2  # it was asked for twice
    for _ in range(2):
        assert client.confirm_subscription(TopicArn=topic, Token=asked[0]["Token"])["SubscriptionArn"] == arn
    attributes = client.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["PendingConfirmation"] == "false"
    change = {"SubscriptionArn": arn, "AttributeName": "FilterPolicy"}
    assert code_of(client.set_subscription_attributes, **change, AttributeValue='{"a": 1}') == "InvalidParameter"
    client.set_subscription_attributes(**change, AttributeValue='{"a": ["b"]}')
    assert client.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["FilterPolicy"] == '{"a": ["b"]}'
    client.unsubscribe(SubscriptionArn=arn)
    client.unsubscribe(SubscriptionArn=arn)
    assert code_of(client.get_subscription_attributes, SubscriptionArn=arn) == "NotFound"
    assert code_of(client.unsubscribe, SubscriptionArn="x") == "InvalidParameter"


def test_messages_that_cannot_be(served: Served) -> None:
    client = served.client("sns")
    topic = client.create_topic(Name="t")["TopicArn"]

    def refused(**members: Any) -> str:
        return code_of(client.publish, TopicArn=topic, **{"Message": "x", **members})

    assert refused(Message="") == "InvalidParameter"
    assert refused(Message="x" * 262_145) == "InvalidParameter"
    assert refused(Subject="x" * 101) == "InvalidParameter"
    assert refused(MessageStructure="json") == "InvalidParameter"
    assert refused(MessageStructure="json", Message='{"http": "x"}') == "InvalidParameter"
    assert refused(MessageStructure="xml") == "InvalidParameter"
    assert refused(MessageAttributes={"a": {"DataType": "Date", "StringValue": "x"}}) == "ParameterValueInvalid"
    assert refused(MessageAttributes={"a": {"DataType": "String"}}) == "ParameterValueInvalid"
    batch = {"TopicArn": topic}
    entry = {"Id": "a", "Message": "x"}
    work = client.publish_batch
    assert code_of(work, **batch, PublishBatchRequestEntries=[entry, entry]) == "BatchEntryIdsNotDistinct"
    assert code_of(work, **batch, PublishBatchRequestEntries=[{**entry, "Id": "a b"}]) == "InvalidBatchEntryId"
    many = [{"Id": str(number), "Message": "x"} for number in range(11)]
    assert code_of(work, **batch, PublishBatchRequestEntries=many) == "TooManyEntriesInBatchRequest"
    long = [{"Id": str(number), "Message": "x" * 200_000} for number in range(2)]
    assert code_of(work, **batch, PublishBatchRequestEntries=long) == "BatchRequestTooLong"


async def test_functions_are_actions(served: Served, store: SqliteStore) -> None:
    client = served.client("sns")
    topic = client.create_topic(Name="t")["TopicArn"]
    wish = {"TopicArn": topic, "Protocol": "lambda", "Endpoint": FUNCTION}
    assert code_of(client.subscribe, **wish) == "InvalidParameter"
    await put_action(store)
    assert client.subscribe(**wish)["SubscriptionArn"].startswith(f"{topic}:")
    # An action is a topic of its own name.
    client.publish(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:f", Message="x")


def test_rules_from_put_to_delete(served: Served) -> None:
    client = served.client("events")
    made = {"Name": "r", "EventPattern": '{"source": ["a"]}', "Description": "d", "State": "DISABLED"}
    arn = client.put_rule(**made, Tags=[{"Key": "k", "Value": "v"}])["RuleArn"]
    told = client.describe_rule(Name="r")
    assert {name: told[name] for name in made} == made
    assert (told["Arn"], told["EventBusName"], told["CreatedBy"]) == (arn, "default", ACCOUNT)
    client.put_targets(Rule="r", Targets=[{"Id": "t", "Arn": FUNCTION, "InputPath": "$.detail"}])
    client.put_rule(Name="r", ScheduleExpression="cron(0 12 * * ? *)", EventBusName="default")
    assert "EventPattern" not in client.describe_rule(Name="r")
    assert client.list_targets_by_rule(Rule="r")["Targets"][0]["InputPath"] == "$.detail"
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": "k", "Value": "w"}, {"Key": "l", "Value": "x"}])
    client.untag_resource(ResourceARN=arn, TagKeys=["k"])
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "l", "Value": "x"}]
    client.enable_rule(Name="r")
    assert client.describe_rule(Name="r")["State"] == "ENABLED"
    assert code_of(client.delete_rule, Name="r") == "ValidationException"
    client.remove_targets(Rule="r", Ids=["t"])
    client.delete_rule(Name="r")
    client.delete_rule(Name="r")
    for work in (client.describe_rule, client.enable_rule, client.disable_rule):
        assert code_of(work, Name="r") == "ResourceNotFoundException"
    assert code_of(client.list_tags_for_resource, ResourceARN=arn) == "ResourceNotFoundException"


def test_rules_come_in_pages_by_prefix(served: Served) -> None:
    client = served.client("events")
    for name in ("a1", "a2", "a3", "b"):
        client.put_rule(Name=name, ScheduleExpression="rate(1 day)")
    first = client.list_rules(NamePrefix="a", Limit=2)
    rest = client.list_rules(NamePrefix="a", Limit=2, NextToken=first["NextToken"])
    assert [rule["Name"] for rule in (*first["Rules"], *rest["Rules"])] == ["a1", "a2", "a3"]
    assert "NextToken" not in rest
    assert client.list_event_buses()["EventBuses"][0]["Name"] == "default"
    assert client.describe_event_bus()["Arn"].endswith(":event-bus/default")
    assert code_of(client.describe_event_bus, Name="x") == "ResourceNotFoundException"


def test_rules_and_targets_that_cannot_be(served: Served) -> None:
    client = served.client("events")
    assert code_of(client.put_rule, Name="r") == "ValidationException"
    assert code_of(client.put_rule, Name="r", EventPattern="{}") == "InvalidEventPatternException"
    for schedule in ("at(2026-01-01T00:00:00)", "rate(0 minutes)", "cron(* *)"):
        assert code_of(client.put_rule, Name="r", ScheduleExpression=schedule) == "ValidationException"
    client.put_rule(Name="r", EventPattern='{"source": ["a"]}')

    def refused(**target: Any) -> str:
        return code_of(client.put_targets, Rule="r", Targets=[{"Id": "t", "Arn": FUNCTION, **target}])

    assert refused(Arn="arn:aws:sqs:eu-west-3:1:q") == "ValidationException"
    assert refused(Arn=FUNCTION.replace(ACCOUNT, "999999999999")) == "ValidationException"
    assert refused(Input="{") == "ValidationException"
    assert refused(Input="1", InputPath="$.a") == "ValidationException"
    assert refused(InputTransformer={"InputTemplate": "<gone>"}) == "ValidationException"
    assert refused(RetryPolicy={"MaximumRetryAttempts": 1}) == "ValidationException"
    six = [{"Id": str(number), "Arn": FUNCTION} for number in range(6)]
    assert code_of(client.put_targets, Rule="r", Targets=six) == "LimitExceededException"
    assert client.list_targets_by_rule(Rule="r")["Targets"] == []
    assert code_of(client.put_targets, Rule="gone", Targets=six[:1]) == "ResourceNotFoundException"


def test_events_that_cannot_be_are_named_one_by_one(served: Served) -> None:
    client = served.client("events")
    right = {"Source": "mine", "DetailType": "T", "Detail": "{}"}
    wrong = [{"Detail": "[]"}, {"Detail": "{"}, {"Source": "aws.x"}, {"DetailType": ""}, {"EventBusName": "other"}]
    answer = client.put_events(Entries=[right, *({**right, **one} for one in wrong)])
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    malformed = ["MalformedDetail"] * 2
    assert codes == [None, *malformed, "NotAuthorizedForSourceException", "InvalidArgument", "InvalidArgument"]
    assert answer["FailedEntryCount"] == 5
    assert code_of(client.put_events, Entries=[right] * 11) == "ValidationException"


def test_patterns_are_tested(served: Served) -> None:
    client = served.client("events")
    event = {
        "id": "1", "account": ACCOUNT, "source": "aws.sagemaker", "time": "2026-01-01T00:00:00Z", "region": REGION,
        "resources": [], "detail-type": "T", "detail": {"state": "ALARM"},
    }  # fmt: skip
    for pattern, wanted in (('{"detail": {"state": ["ALARM"]}}', True), ('{"detail": {"state": ["OK"]}}', False)):
        assert client.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"] is wanted
    assert code_of(client.test_event_pattern, EventPattern="{}", Event="{}") == "InvalidEventPatternException"
    assert code_of(client.test_event_pattern, EventPattern='{"a": ["b"]}', Event="{}") == "ValidationException"
