"""Training through boto3: data, code and requests, small."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Mapping
from typing import Any

from tests.support.server import ROLE, Server

XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ENDED = ("Completed", "Failed", "Stopped")


def rows(count: int, seed: int = 0) -> str:
    """CSV without a header: a label, then four features that it follows from."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        x = [draw.random() for _ in range(4)]
        lines.append(f"{2 * x[0] + x[1]:.4f}," + ",".join(f"{value:.4f}" for value in x))
    return "\n".join(lines) + "\n"


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """A sourcedir.tar.gz of some files, by name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return out.getvalue()


def channel(name: str, uri: str, **more: Any) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, **more}}
    return {"ChannelName": name, "ContentType": "text/csv", "DataSource": source}


def request(name: str, bucket: str, image: str = XGBOOST, **more: Any) -> dict[str, Any]:
    """CreateTrainingJob's members: an XGBoost job on the bucket's train/ and validation/, unless said otherwise."""
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "InputDataConfig": [channel(kind, f"s3://{bucket}/data/{kind}") for kind in ("train", "validation")],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "HyperParameters": {"num_round": "5", "objective": "reg:squarederror"},
        **more,
    }


def script_request(name: str, bucket: str, code: str, hyperparameters: dict[str, str], **more: Any) -> dict[str, Any]:
    """The same with a script, which the caller has put at `code`."""
    given = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": f'"s3://{bucket}/{code}"'}
    return request(
        name,
        bucket,
        SKLEARN,
        InputDataConfig=[channel("train", f"s3://{bucket}/data/train/")],
        HyperParameters={**given, **hyperparameters},
        **more,
    )


def fill(server: Server, bucket: str) -> Any:
    """A bucket with training data; the S3 client."""
    s3 = server.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="data/train/a.csv", Body=rows(300))
    s3.put_object(Bucket=bucket, Key="data/train/more/b.csv", Body=rows(100, 1))
    s3.put_object(Bucket=bucket, Key="data/validation/a.csv", Body=rows(100, 2))
    return s3


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    """The job once it has ended. Describe holds its answer, so that this is no busy loop."""
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] not in ENDED:
        pass
    return job  # type: ignore[no-any-return]
