"""Notebooks with SageMaker SDK 3.x. Runs in that SDK's environment: python sagemaker3_calls.py STORY ARCHIVE."""

from __future__ import annotations

import sys

from sagemaker.core.helper.session_helper import Session

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
ROLE = "arn:aws:iam::123456789012:role/any"


def of_resources(url: str) -> None:
    """The resource classes of sagemaker.core: create, wait, invoke, list, delete."""
    from sagemaker.core.resources import Endpoint, EndpointConfig, Model
    from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

    container = ContainerDefinition(image=IMAGE, model_data_url=url)
    model = Model.create(model_name="core", primary_container=container, execution_role_arn=ROLE)
    variant = ProductionVariant(
        variant_name="AllTraffic", model_name="core", initial_instance_count=1, instance_type="ml.m5.large"
    )
    config = EndpointConfig.create(endpoint_config_name="core", production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name="core", endpoint_config_name="core")
    endpoint.wait_for_status("InService")
    asked(endpoint)
    assert [one.endpoint_name for one in Endpoint.get_all()] == ["core"]
    endpoint.delete()
    endpoint.wait_for_delete()
    config.delete()
    model.delete()


def of_builder(url: str) -> None:
    """ModelBuilder: build and deploy."""
    from sagemaker.serve import ModelBuilder

    builder = ModelBuilder(
        image_uri=IMAGE, s3_model_data_url=url, role_arn=ROLE, sagemaker_session=Session(), instance_type="ml.m5.large"
    )
    builder.build()
    endpoint = builder.deploy(endpoint_name="built", initial_instance_count=1, instance_type="ml.m5.large")
    asked(endpoint)
    endpoint.delete()


def asked(endpoint: object) -> None:
    answer = endpoint.invoke(body=b"0.5,-1.25,3,0.125", content_type="text/csv", accept="text/csv")
    float(answer.body.read())


def main(story: str, archive: str) -> None:
    url = Session().upload_data(archive, key_prefix="models")
    {"resources": of_resources, "builder": of_builder}[story](url)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
