"""The service models: botocore's files, with a small table of errata. Only what is asked for is loaded.

botocore's `service-2.json` files are the API reference in machine-readable form; they hold every shape, constraint and
error that a client knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, StructureShape


@dataclass(frozen=True)
class Service:
    """What is known of a service before its model is loaded; a test compares it with the models."""

    name: str
    """botocore's name."""
    title: str
    """For people: `Amazon SageMaker`."""
    signing: str
    """Service in a signature's scope."""
    target_prefix: str = ""
    """Before the dot of X-Amz-Target; empty: not a JSON service."""
    version: str = ""
    """`Version` of the query protocol; empty: not spoken."""
    protocol: str = "json"
    """What it speaks by default: json, query or rest-json."""
    body_bytes_max: int = 1024 * 1024
    """Longest request body, in bytes; beyond: 413. CloudWatch documents 1 MB, the others hold specs, not data."""


SERVICES = (
    Service("sagemaker", "Amazon SageMaker", "sagemaker", "SageMaker"),
    Service("cloudwatch", "Amazon CloudWatch", "monitoring", "GraniteServiceVersion20100801", "2010-08-01"),
    Service(
        "application-autoscaling",
        "Application Auto Scaling",
        "application-autoscaling",
        "AnyScaleFrontendService",
    ),
    Service("sts", "AWS Security Token Service", "sts", "", "2011-06-15", "query"),
    Service("logs", "Amazon CloudWatch Logs", "logs", "Logs_20140328", body_bytes_max=8 * 1024 * 1024),
    Service("cloudtrail", "AWS CloudTrail", "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"),
    Service("events", "Amazon EventBridge", "events", "AWSEvents"),
    Service("sns", "Amazon SNS", "sns", "", "2010-03-31", "query"),
    Service("iam", "AWS Identity and Access Management", "iam", "", "2010-05-08", "query"),
    Service("sagemaker-runtime", "Amazon SageMaker Runtime", "sagemaker", protocol="rest-json"),
)
"""The services with at least one served operation, besides S3, whose door is `edge/aws/s3`."""

BY_NAME = {service.name: service for service in SERVICES}


def _any_instance_type(shape: dict[str, Any]) -> None:
    del shape["enum"]
    shape["pattern"] = r"ml\.[a-z0-9-]+\.[a-z0-9-]+"
    shape["max"] = 64


def _also_files(shape: dict[str, Any]) -> None:
    shape["pattern"] = r"((https|s3)://([^/]+)/?(.*))|(file:///.+)"


@dataclass(frozen=True)
class Erratum:
    """One deviation from the model files."""

    service: str
    shape: str
    reason: str
    change: Callable[[dict[str, Any]], None]


ERRATA = (
    Erratum(
        "sagemaker",
        "ProductionVariantInstanceType",
        "Write-ups in wide use name types, such as ml.t3.medium, that the model file lacks; any type of the size table "
        "(clary.domain.instance_types) is accepted and an unknown one refused with the list.",
        _any_instance_type,
    ),
    Erratum(
        "sagemaker",
        "Url",
        "ModelDataUrl takes the file:/// address of an archive on a file system that the server has mounted, below the "
        "folders of --model-roots.",
        _also_files,
    ),
)


class Spec:
    """Service models, loaded on first use and kept. Owns its loader, because errata change what was loaded."""

    def __init__(self) -> None:
        self._loader = Loader()
        self._models: dict[str, ServiceModel] = {}

    def service(self, name: str) -> ServiceModel:
        """The model of a service of the table; KeyError for another."""
        model = self._models.get(name)
        if model is None:
            if name not in BY_NAME:
                raise KeyError(name)
            document = self._loader.load_service_model(name, "service-2")
            for erratum in ERRATA:
                if erratum.service == name:
                    erratum.change(document["shapes"][erratum.shape])
            model = self._models[name] = ServiceModel(document, name)
        return model

    def speaks_cbor(self, name: str) -> bool:
        """Whether the model of a service lists smithy-rpc-v2-cbor."""
        return "smithy-rpc-v2-cbor" in self.service(name).metadata.get("protocols", ())

    def operation(self, service: str, name: str) -> OperationModel | None:
        """The model of one operation; None where the service has no such operation."""
        model = self.service(service)
        return model.operation_model(name) if name in model.operation_names else None

    def error(self, service: str, code: str) -> StructureShape | None:
        """The error shape of a code (or of a shape's own name); None where the model has none."""
        model = self.service(service)
        for shape in model.error_shapes:
            if isinstance(shape, StructureShape) and code in (shape.name, shape.error_code):
                return shape
        return None
