"""Topics and rules of a real server: HTTP subscribers, signatures, filters, patterns, inputs, schedules."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from clary.cli.main import main
from tests.support.server import Server, wait_until

ACCOUNT = "123456789012"
PLAIN = {"source": ["my.app"]}
ALARM = {
    "Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "ignore",
}  # fmt: skip


@dataclass
class Subscriber:
    """An HTTP server that remembers what it is told; the first `failures` requests it answers with 503."""

    url: str = ""
    failures: int = 0
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def of_type(self, kind: str) -> list[tuple[dict[str, str], bytes]]:
        return [one for one in self.told if one[0]["x-amz-sns-message-type"] == kind]

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.of_type("Notification")]


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    made = Subscriber()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.failures -= 1
            if made.failures < 0:
                made.told.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200 if made.failures < 0 else 503)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{served.server_address[1]}/topic"
    thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    served.shutdown()
    served.server_close()
    thread.join()


def visit(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def follow(server: Server, subscriber: Subscriber, topic: str, **attributes: str) -> str:
    """Subscribe and confirm; the ARN."""
    sns = server.client("sns")
    before = len(subscriber.of_type("SubscriptionConfirmation"))
    arn = sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint=subscriber.url, Attributes=attributes, ReturnSubscriptionArn=True
    )["SubscriptionArn"]
    asked = wait_until(lambda: subscriber.of_type("SubscriptionConfirmation")[before:], "it is asked")
    sns.confirm_subscription(TopicArn=topic, Token=json.loads(asked[0][1])["Token"])
    return str(arn)


def test_a_subscriber_confirms_and_gets_signed_messages(server: Server, subscriber: Subscriber) -> None:
    sns = server.client("sns")
    topic = sns.create_topic(Name="ops", Attributes={"DisplayName": "Operations"})["TopicArn"]
    assert topic == f"arn:aws:sns:us-east-1:{ACCOUNT}:ops"
    answer = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url)
    assert answer["SubscriptionArn"] == "pending confirmation"
    headers, body = wait_until(lambda: subscriber.told, "it is asked")[0]
    asked = json.loads(body)
    assert headers["content-type"] == "text/plain; charset=UTF-8"
    assert (
        sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["SubscriptionArn"] == "PendingConfirmation"
    )
    assert b"<SubscriptionArn>arn:aws:sns:" in visit(asked["SubscribeURL"])
    (line,) = sns.list_subscriptions()["Subscriptions"]
    for version in ("1", "2"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue=version)
        made = sns.publish(TopicArn=topic, Message=f"hello {version}", Subject="Greetings")
        wait_until(lambda: len(subscriber.messages()) == int(version), "a message")  # noqa: B023 - ends in here
        message = subscriber.messages()[-1]
        assert (message["MessageId"], message["TopicArn"]) == (made["MessageId"], topic)
        assert (message["Message"], message["Subject"]) == (f"hello {version}", "Greetings")
        check_signature(message)
    headers = subscriber.of_type("Notification")[0][0]
    assert headers["x-amz-sns-subscription-arn"] == line["SubscriptionArn"]
    visit(message["UnsubscribeURL"])
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    check_signature(asked, ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"))
    sns.delete_topic(TopicArn=topic)
    with pytest.raises(ClientError, match="Topic does not exist"):
        sns.publish(TopicArn=topic, Message="gone")


def check_signature(
    message: dict[str, Any],
    names: tuple[str, ...] = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
) -> None:
    """As receivers do, by the developer guide."""
    key = x509.load_pem_x509_certificate(visit(message["SigningCertURL"])).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    text = "".join(f"{name}\n{message[name]}\n" for name in names)
    algorithm = hashes.SHA256() if message["SignatureVersion"] == "2" else hashes.SHA1()
    key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


def test_messages_are_filtered_raw_by_protocol_and_in_order(server: Server, subscriber: Subscriber) -> None:
    sns = server.client("sns")
    topic = sns.create_topic(Name="filtered", Tags=[{"Key": "team", "Value": "a"}])["TopicArn"]
    arn = follow(server, subscriber, topic, RawMessageDelivery="true", FilterPolicy='{"kind": [{"prefix": "a"}]}')
    kind = {"kind": {"DataType": "String", "StringValue": "b"}}
    sns.publish(TopicArn=topic, Message="unwanted", MessageAttributes=kind)
    kind["kind"]["StringValue"] = "abc"
    texts = json.dumps({"default": "for all", "http": "for http"})
    sns.publish(TopicArn=topic, Message=texts, MessageStructure="json", MessageAttributes=kind)
    entries = [{"Id": str(n), "Message": f"message {n}", "MessageAttributes": kind} for n in range(9)]
    done = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[*entries, {"Id": "x", "Message": ""}])
    assert (len(done["Successful"]), done["Failed"][0]["Code"]) == (9, "InvalidParameter")
    wait_until(lambda: len(subscriber.of_type("Notification")) == 10, "all messages")
    got = subscriber.of_type("Notification")
    assert [body.decode() for _, body in got] == ["for http", *(f"message {n}" for n in range(9))]
    assert got[0][0]["x-amz-sns-rawdelivery"] == "true"
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (attributes["PendingConfirmation"], attributes["RawMessageDelivery"]) == ("false", "true")
    sns.set_subscription_attributes(
        SubscriptionArn=arn, AttributeName="FilterPolicyScope", AttributeValue="MessageBody"
    )
    sns.publish(TopicArn=topic, Message="no json")
    sns.publish(TopicArn=topic, Message='{"kind": "apple"}')
    wait_until(lambda: len(subscriber.of_type("Notification")) == 11, "what its body says")
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "team", "Value": "a"}]
    sns.unsubscribe(SubscriptionArn=arn)


def test_rules_send_events_on(server: Server, subscriber: Subscriber, tmp_path: Path) -> None:
    events, sns, seen = server.client("events"), server.client("sns"), tmp_path / "seen"
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    command = shlex.join([sys.executable, "-c", script, str(seen)])
    where = ("--url", server.url, "--home", str(server.home))
    assert main(["actions", "add", "seen", "--command", command, *where]) == 0
    topic = sns.create_topic(Name="bus")["TopicArn"]
    follow(server, subscriber, topic)
    arn = events.put_rule(Name="mine", EventPattern=json.dumps(PLAIN))["RuleArn"]
    assert arn == f"arn:aws:events:us-east-1:{ACCOUNT}:rule/mine"
    template = {"InputPathsMap": {"who": "$.detail.who"}, "InputTemplate": '"<who> is there"'}
    targets = [
        {"Id": "a", "Arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:seen"},
        {"Id": "b", "Arn": topic, "InputTransformer": template},
    ]
    assert events.put_targets(Rule="mine", Targets=targets)["FailedEntryCount"] == 0
    assert events.list_targets_by_rule(Rule="mine")["Targets"] == targets
    assert events.list_rule_names_by_target(TargetArn=topic)["RuleNames"] == ["mine"]
    entry = {"Source": "my.app", "DetailType": "Arrived", "Detail": '{"who": "Ann"}', "Resources": ["r"]}
    put = events.put_events(Entries=[entry, {**entry, "Source": "aws.mine"}, {**entry, "Source": "other"}])
    assert put["FailedEntryCount"] == 1
    event = json.loads(wait_until(lambda: seen.exists() and seen.read_text().strip(), "the action is called"))
    assert event["id"] == put["Entries"][0]["EventId"]
    assert (event["detail-type"], event["detail"], event["resources"]) == ("Arrived", {"who": "Ann"}, ["r"])
    wait_until(subscriber.messages, "the topic is told")
    assert [message["Message"] for message in subscriber.messages()] == ["Ann is there"]

    # An alarm's change and an endpoint's come over the same bus.
    events.put_rule(
        Name="mine", EventPattern='{"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["ALARM"]}}}'
    )
    server.client("cloudwatch").put_metric_alarm(AlarmName="watched", **ALARM, ActionsEnabled=False)
    server.client("cloudwatch").set_alarm_state(AlarmName="watched", StateValue="ALARM", StateReason="a drill")
    wait_until(lambda: len(seen.read_text().splitlines()) == 2, "the alarm's event")
    told = json.loads(seen.read_text().splitlines()[1])
    assert (told["detail-type"], told["detail"]["alarmName"]) == ("CloudWatch Alarm State Change", "watched")

    events.disable_rule(Name="mine")
    assert events.describe_rule(Name="mine")["State"] == "DISABLED"
    with pytest.raises(ClientError, match="since it has targets"):
        events.delete_rule(Name="mine")
    assert events.remove_targets(Rule="mine", Ids=["a", "b", "c"])["FailedEntryCount"] == 1
    events.delete_rule(Name="mine")
    with contextlib.suppress(ClientError):
        events.describe_rule(Name="mine")
        pytest.fail("it is gone")


def test_endpoints_tell_rules(server: Server, subscriber: Subscriber, regressor: Path) -> None:
    events, sns = server.client("events"), server.client("sns")
    topic = sns.create_topic(Name="endpoints")["TopicArn"]
    follow(server, subscriber, topic)
    pattern = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Endpoint State Change"]}
    events.put_rule(Name="endpoints", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="endpoints", Targets=[{"Id": "t", "Arn": topic}])
    server.host("told", regressor.read_bytes())

    def states() -> list[str]:
        return [json.loads(one["Message"])["detail"]["EndpointStatus"] for one in subscriber.messages()]

    wait_until(lambda: states()[-1:] == ["IN_SERVICE"], "the endpoint's states")
    server.client("sagemaker").delete_endpoint(EndpointName="told")
    events.remove_targets(Rule="endpoints", Ids=["t"])


def test_what_is_not_served_is_refused_by_name(server: Server) -> None:
    sns, events = server.client("sns"), server.client("events")
    topic = sns.create_topic(Name="refusing")["TopicArn"]
    for protocol, endpoint in (("email", "a@b.c"), ("sqs", "arn:aws:sqs:us-east-1:1:q")):
        with pytest.raises(ClientError, match=f"The protocol {protocol} is not served"):
            sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    with pytest.raises(ClientError, match="InvalidParameter"):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="https://x/")
    with pytest.raises(ClientError, match="no such action"):
        sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:none")
    with pytest.raises(ClientError, match="KmsMasterKeyId is not served"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue="k")
    with pytest.raises(ClientError, match="there is no SMS"):
        sns.publish(PhoneNumber="+1", Message="x")
    with pytest.raises(ClientError, match="InvalidEventPatternException"):
        events.put_rule(Name="wrong", EventPattern='{"source": "text"}')
    with pytest.raises(ClientError, match="Only the bus default is served"):
        events.put_rule(Name="wrong", EventPattern=json.dumps(PLAIN), EventBusName="mine")
    events.put_rule(Name="right", ScheduleExpression="rate(5 minutes)")
    with pytest.raises(ClientError, match="The target arn:aws:sqs:us-east-1:1:q is not served"):
        events.put_targets(Rule="right", Targets=[{"Id": "q", "Arn": "arn:aws:sqs:us-east-1:1:q"}])
    with pytest.raises(ClientError, match="no service 'lambda'"):
        server.client("lambda").invoke(FunctionName="any")
