"""Which hosts are those of served services: held against botocore's own clients."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from clary.edge.proxy.hosts import ServedHosts

SERVED = ServedHosts()


OF_RESOURCES = {
    "s3": ("GetObject", {"Bucket": "models", "Key": "a"}),
    "sagemaker-runtime": ("InvokeEndpoint", {"EndpointName": "e", "Body": b""}),
}
"""Calls whose URL needs members; of other services any will do."""


class Sent(Exception):  # noqa: N818 - what botocore was about to send
    pass


def _stop(request: Any, **_: object) -> None:
    raise Sent(request.url)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"])
@pytest.mark.parametrize("variant", [{}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}])
def test_every_host_that_a_client_asks_is_known(region: str, variant: dict[str, bool]) -> None:
    for service in SERVED.services:
        if region == "cn-north-1" and variant.get("use_fips_endpoint") and service == "s3":
            continue  # there is none in that partition
        client = boto3.client(
            service,
            region_name=region,
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(parameter_validation=False, **variant),
        )
        client.meta.events.register("before-send", _stop)
        call, members = OF_RESOURCES.get(service, (client.meta.service_model.operation_names[0], {}))
        with pytest.raises(Sent) as sent:
            client._make_api_call(call, members)
        assert SERVED.service_of(urlsplit(str(sent.value)).hostname or "") == service


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("sts.amazonaws.com", "sts"),
        ("sts.ap-southeast-2.amazonaws.com", "sts"),
        ("iam.amazonaws.com", "iam"),
        ("api.sagemaker.us-west-2.amazonaws.com", "sagemaker"),
        ("runtime.sagemaker.us-west-2.amazonaws.com", "sagemaker-runtime"),
        ("s3.amazonaws.com", "s3"),
        ("models.s3.amazonaws.com", "s3"),
        ("models.s3.eu-central-1.amazonaws.com", "s3"),
        ("my.dotted.bucket.s3.eu-central-1.amazonaws.com", "s3"),
        ("us-east-1.s3.us-west-2.amazonaws.com", "s3"),
    ],
)
def test_hosts_that_code_has_built_in(host: str, service: str) -> None:
    assert SERVED.service_of(host) == service


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "amazonaws.com",
        "ec2.us-east-1.amazonaws.com",
        "api.ecr.us-east-1.amazonaws.com",
        "other.sts.us-east-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com.example.com",
        "s3.us-east-1.amazonaws.com.example.com",
        "sts.nowhere.amazonaws.com",
        "169.254.169.254",
    ],
)
def test_every_other_host_is_not(host: str) -> None:
    assert SERVED.service_of(host) is None
