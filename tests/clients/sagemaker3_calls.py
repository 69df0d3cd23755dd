"""Notebooks with SageMaker SDK 3.x. Runs in that SDK's environment: python sagemaker3_calls.py STORY ARCHIVE."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from sagemaker.core.helper.session_helper import Session, get_execution_role

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
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


TRAIN = """
import argparse
import json
import os

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--name")
options = parser.parse_args()
import helper

rows = [line for line in open(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "train.csv"))]
print("rows=%d; rate=%s" % (len(rows), options.rate), flush=True)
assert os.environ["SM_SOURCE_DIR"] == os.getcwd() == os.path.dirname(os.path.abspath(__file__))
assert os.environ["SM_ENTRY_SCRIPT"] == "train.py"
with open(os.path.join(os.environ["SM_MODEL_DIR"], "made.json"), "w") as out:
    json.dump({"rate": options.rate, "name": options.name, "helper": helper.NAME}, out)
"""


def of_trainer(_: str) -> None:
    """ModelTrainer: the algorithm of an image, with data of this machine, waited for and with its log."""
    from sagemaker.train import ModelTrainer
    from sagemaker.train.configs import Compute, InputData

    Path("train.csv").write_text("\n".join(f"{i * 2},{i},{i % 3}" for i in range(200)))
    trainer = ModelTrainer(
        training_image=IMAGE,
        role=ROLE,
        base_job_name="boosted",
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5),
        hyperparameters={"num_round": 10, "objective": "reg:squarederror"},
    )
    train = InputData(channel_name="train", data_source="train.csv", content_type="text/csv")
    trainer.train(input_data_config=[train], wait=True, logs=True)
    job = trainer._latest_training_job
    assert job.training_job_status == "Completed", job
    assert job.model_artifacts.s3_model_artifacts.startswith("s3://"), job


def of_source(_: str) -> None:
    """ModelTrainer with a script of this machine, which the SDK's own driver would run in a container."""
    import io
    import json
    import tarfile

    import boto3
    from sagemaker.train import ModelTrainer
    from sagemaker.train.configs import Compute, InputData, SourceCode

    Path("train.csv").write_text("1,2\n3,4\n")
    Path("code").mkdir()
    Path("code/train.py").write_text(TRAIN)
    Path("code/helper.py").write_text("NAME = 'beside the script'")
    trainer = ModelTrainer(
        training_image=SKLEARN,
        role=ROLE,
        base_job_name="script",
        source_code=SourceCode(source_dir="code", entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=5),
        hyperparameters={"rate": 0.5, "name": "a b"},
    )
    trainer.train(input_data_config=[InputData(channel_name="train", data_source="train.csv")], wait=True, logs=True)
    url = trainer._latest_training_job.model_artifacts.s3_model_artifacts
    bucket, _, key = url.removeprefix("s3://").partition("/")
    body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as made:
        said = json.load(made.extractfile("made.json"))
    assert said == {"rate": 0.5, "name": "a b", "helper": "beside the script"}, said


def of_notebook(url: str) -> None:
    """What a notebook on AWS takes for granted: a role and a bucket of its own."""
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert get_execution_role() == "arn:aws:iam::123456789012:role/notebook"
    assert url.startswith("s3://sagemaker-us-east-1-123456789012/models/")


def asked(endpoint: object) -> None:
    answer = endpoint.invoke(body=b"0.5,-1.25,3,0.125", content_type="text/csv", accept="text/csv")
    float(answer.body.read())


def main(story: str, archive: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)  # SDK 3 leaves the showing of logs to the application
    url = Session().upload_data(archive, key_prefix="models")
    stories = {
        "resources": of_resources,
        "builder": of_builder,
        "trainer": of_trainer,
        "source": of_source,
        "notebook": of_notebook,
    }
    stories[story](url)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
