"""An endpoint of a real AWS account, read by its Describe operations; its artifacts, read from its S3.

Nothing is written there. What a twin does not carry of the answers is listed by name: nothing goes silently.
Shapes: API reference, DescribeEndpoint, DescribeEndpointConfig, DescribeModel, DescribeModelPackage.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from clary.cli.exit_codes import CliError, Exit

CODE_VARIABLE = "SAGEMAKER_SUBMIT_DIRECTORY"
"""Environment entry of script mode: the s3:// address of the code's tar.gz, or a path in the container."""
SERVERLESS_TYPE = "ml.t3.medium"
"""What a serverless variant's twin is hosted on."""
OWN_KEY_PREFIX = "CLA"
"""Keys of a Clary server begin so, those of AWS never: AKIA, ASIA (IAM user guide, unique identifiers)."""
_CHUNK_BYTES = 1024 * 1024

_VARIANT_CARRIED = frozenset(
    {
        "VariantName",
        "ModelName",
        "InstanceType",
        "InitialInstanceCount",
        "InitialVariantWeight",
        "ContainerStartupHealthCheckTimeoutInSeconds",
        "ModelDataDownloadTimeoutInSeconds",
        "VolumeSizeInGB",
        "RoutingConfig",
        "InferenceAmiVersion",
    }
)
_VARIANT_KEPT = _VARIANT_CARRIED - {"VariantName", "ModelName", "InstanceType", "InitialInstanceCount"}
_CONFIG_FACTS = frozenset({"EndpointConfigName", "EndpointConfigArn", "ProductionVariants", "CreationTime"})
_MODEL_CARRIED = frozenset(
    {"ModelName", "ModelArn", "PrimaryContainer", "Containers", "CreationTime", "ExecutionRoleArn"}
)
_CONTAINER_CARRIED = frozenset(
    {"Image", "ModelDataUrl", "ModelDataSource", "Environment", "Mode", "ModelPackageName", "ContainerHostname"}
)


@dataclass(frozen=True)
class SourceModel:
    """One model as the account has it."""

    name: str
    image: str
    artifact: str
    """`s3://` address: an object, or with a closing slash the prefix of an uncompressed artifact."""
    environment: dict[str, str]
    role: str


@dataclass(frozen=True)
class SourceVariant:
    """One production variant."""

    name: str
    model: SourceModel
    instance_type: str
    instances: int
    weight: float
    more: dict[str, Any] = field(default_factory=dict)
    """Further members of ProductionVariant, as CreateEndpointConfig takes them."""


@dataclass(frozen=True)
class Source:
    """One endpoint."""

    name: str
    region: str
    status: str
    variants: tuple[SourceVariant, ...]
    left_out: tuple[str, ...]
    """What the twin does not carry, one phrase each."""


class Account:
    """A real account, in one region."""

    def __init__(self, profile: str | None, region: str | None, endpoint_url: str | None) -> None:
        """Credentials as every AWS client finds them. CliError where there are none, or where they are Clary's own."""
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        # AWS_ENDPOINT_URL may well name a Clary server: it does not count here.
        told: dict[str, Any] = {"ignore_configured_endpoint_urls": True, "user_agent_extra": "clary-import"}
        config = Config(**told)
        try:
            session = botocore.session.Session(profile=profile)
            credentials = session.get_credentials()
            self.region: str = region or session.get_config_variable("region") or ""
        except BotoCoreError as error:
            raise CliError(Exit.USAGE, f"The AWS credentials cannot be read: {error}") from None
        if credentials is None or credentials.access_key.startswith(OWN_KEY_PREFIX):
            whose = "There are no AWS credentials" if credentials is None else "These are keys of a Clary server"
            raise CliError(Exit.USAGE, f"{whose}.", "Name a profile of the AWS account with --aws-profile.")
        if not self.region:
            raise CliError(Exit.USAGE, "The AWS region is not known.", "Name it with --aws-region.")
        self._make: Callable[[str], Any] = lambda service: session.create_client(
            service, region_name=self.region, endpoint_url=endpoint_url, config=config
        )
        self._sagemaker = self._make("sagemaker")
        self._s3: Any = None

    def endpoint(self, name: str) -> Source:
        """The endpoint with all that serves it. Raises CliError."""
        endpoint = self._ask("describe_endpoint", EndpointName=name)
        config = self._ask("describe_endpoint_config", EndpointConfigName=endpoint["EndpointConfigName"])
        now = {variant["VariantName"]: variant for variant in endpoint.get("ProductionVariants", [])}
        left = list(_present(config, _CONFIG_FACTS))
        variants = []
        for variant in config["ProductionVariants"]:
            model, model_left = self.model(variant["ModelName"])
            left += [f"{what} of the model {model.name}" for what in model_left]
            left += [f"{w} of the variant {variant['VariantName']}" for w in _present(variant, _VARIANT_CARRIED)]
            variants.append(_variant(variant, now.get(variant["VariantName"], {}), model))
        if not variants:
            raise CliError(Exit.REFUSED, f"The endpoint {name} has no production variant of its own.")
        return Source(
            endpoint["EndpointName"],
            self.region,
            endpoint["EndpointStatus"],
            tuple(variants),
            tuple(dict.fromkeys(left)),
        )

    def model(self, name: str) -> tuple[SourceModel, list[str]]:
        """A model, and what of it is not carried. Raises CliError for kinds that have no twin."""
        described = self._ask("describe_model", ModelName=name)
        containers = described.get("Containers") or [described.get("PrimaryContainer") or {}]
        if len(containers) > 1:
            raise CliError(Exit.REFUSED, f"The model {name} is a pipeline of {len(containers)} containers.", _LATER)
        container = containers[0]
        if container.get("Mode", "SingleModel") != "SingleModel":
            raise CliError(Exit.REFUSED, f"The model {name} is a multi-model one.", _LATER)
        left = list(_present(described, _MODEL_CARRIED))
        left += _present(container, _CONTAINER_CARRIED)
        if "ModelPackageName" in container:
            container = {**self._package(container["ModelPackageName"]), **container}
        artifact = _artifact(container)
        if not artifact or not container.get("Image"):
            raise CliError(
                Exit.REFUSED, f"The model {name} has no artifact of its own, only an image.", "Clary runs no images."
            )
        return SourceModel(
            name, container["Image"], artifact, dict(container.get("Environment", {})), described["ExecutionRoleArn"]
        ), left

    @contextmanager
    def artifact(self, address: str) -> Iterator[tuple[BinaryIO, int, str]]:
        """An artifact as one open file, its bytes and SHA-256; what lies uncompressed under a prefix is packed."""
        with tempfile.TemporaryFile() as file:
            if address.endswith("/"):
                self._pack(address, file)
            else:
                self._download(address, file)
            size_bytes = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            yield file, size_bytes, digest

    def _package(self, name: str) -> Mapping[str, Any]:
        package = self._ask("describe_model_package", ModelPackageName=name)
        containers = package.get("InferenceSpecification", {}).get("Containers", [])
        if len(containers) != 1:
            raise CliError(Exit.REFUSED, f"The model package {name} has {len(containers)} containers.", _LATER)
        found: Mapping[str, Any] = containers[0]
        return found

    def _pack(self, address: str, into: IO[bytes]) -> None:
        where = urlsplit(address)
        bucket, prefix = where.netloc, where.path.removeprefix("/")
        with tarfile.open(fileobj=into, mode="w:gz", compresslevel=1) as archive:
            token: dict[str, str] = {}
            while True:
                page = self._s3_ask("list_objects_v2", Bucket=bucket, Prefix=prefix, **token)
                for item in page.get("Contents", []):
                    relative = PurePosixPath(item["Key"].removeprefix(prefix))
                    if item["Key"].endswith("/") or ".." in relative.parts or relative.is_absolute():
                        continue
                    with tempfile.TemporaryFile() as content:
                        self._download(f"s3://{bucket}/{item['Key']}", content)
                        entry = tarfile.TarInfo(str(relative))
                        entry.size = content.tell()
                        content.seek(0)
                        archive.addfile(entry, content)
                if not page.get("IsTruncated"):
                    return
                token = {"ContinuationToken": page["NextContinuationToken"]}

    def _download(self, address: str, into: IO[bytes]) -> None:
        where = urlsplit(address)
        body = self._s3_ask("get_object", Bucket=where.netloc, Key=where.path.removeprefix("/"))["Body"]
        with body:
            while chunk := body.read(_CHUNK_BYTES):
                into.write(chunk)

    def _s3_ask(self, operation: str, **members: Any) -> dict[str, Any]:
        if self._s3 is None:
            self._s3 = self._make("s3")
        return self._ask(operation, self._s3, **members)

    def _ask(self, operation: str, client: Any = None, **members: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(client or self._sagemaker, operation)(**members)
        except ClientError as error:
            raise _refusal(error.response, operation) from None
        except BotoCoreError as error:
            raise CliError(Exit.NO_SERVER, f"AWS cannot be asked ({operation}): {error}") from None
        answer.pop("ResponseMetadata", None)
        return answer


_LATER = "Such endpoints are not served yet."


def _variant(config: Mapping[str, Any], now: Mapping[str, Any], model: SourceModel) -> SourceVariant:
    """Weights and counts as they are now, where the endpoint says; InitialVariantWeight and -Count else."""
    more = {name: value for name, value in config.items() if name in _VARIANT_KEPT}
    more.pop("InitialVariantWeight", None)
    return SourceVariant(
        name=config["VariantName"],
        model=model,
        instance_type=config.get("InstanceType", SERVERLESS_TYPE),
        instances=int(now.get("CurrentInstanceCount") or config.get("InitialInstanceCount") or 1),
        weight=float(now.get("CurrentWeight", config.get("InitialVariantWeight", 1.0))),
        more=more,
    )


def _artifact(container: Mapping[str, Any]) -> str:
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return str(container.get("ModelDataUrl", ""))
    uri = str(source["S3Uri"])
    if source.get("S3DataType") == "S3Prefix":
        if source.get("CompressionType") != "None":
            raise CliError(Exit.REFUSED, f"The artifact {uri} is a prefix of compressed parts.", _LATER)
        return uri if uri.endswith("/") else uri + "/"
    return uri


def _present(members: Mapping[str, Any], carried: frozenset[str]) -> Iterator[str]:
    """Members that say something and are not carried over."""
    return (name for name, value in members.items() if name not in carried and value not in (None, "", [], {}, False))


def _refusal(response: Mapping[str, Any], operation: str) -> CliError:
    error = response.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    if "Could not find" in message or code in ("NoSuchKey", "NoSuchBucket", "404"):
        exit_code = Exit.NOT_FOUND
    elif code in ("AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "403"):
        exit_code = Exit.DENIED
    else:
        exit_code = Exit.REFUSED
    return CliError(exit_code, f"AWS refused {operation}: {message or code}")
