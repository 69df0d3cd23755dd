"""A model: a container image, an artifact and an environment, immutable once created.

Rules are CreateModel's and ContainerDefinition's of the API reference, the ones a shape cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clary.domain.errors import Invalid, NotServed

ENVIRONMENT_BYTES_MAX = 32 * 1024
"""All keys and values of a container's Environment together (ContainerDefinition, API reference)."""
ENVIRONMENT_ITEM_BYTES_MAX = 1024
"""One key or one value."""


SUBMIT_DIRECTORY = "SAGEMAKER_SUBMIT_DIRECTORY"
"""Environment: where the scripts are, a folder of the artifact or an archive on S3."""


@dataclass(frozen=True)
class Vpc:
    """Stored and returned; Clary binds no networks to models."""

    security_group_ids: tuple[str, ...]
    subnets: tuple[str, ...]


SERVER = "server"
"""The runtime's name of a container whose own command serves."""


@dataclass(frozen=True)
class ServerSpec:
    """A command that answers HTTP: `clary images add`."""

    command: tuple[str, ...]
    """As it is executed; `{port}` stands for the port it is to listen on."""
    folder: str = ""
    """Working folder; empty: the model's, unpacked."""
    route: str = "/invocations"
    """Where requests are posted."""
    ping: str = "/ping"
    """Asked for health."""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Container:
    """What one process of a replica runs."""

    image: str
    """The image URI as given."""
    runtime: str
    """`xgboost`, ...: resolved from the image when the model is created, so that it never changes."""
    image_tag: str
    """`1.7-1`: selects documented behaviour."""
    model_data_url: str
    """`s3://bucket/key` of a tar.gz."""
    data_source: bool = False
    """Given as ModelDataSource rather than ModelDataUrl: described the same way it was created."""
    environment: dict[str, str] = field(default_factory=dict)
    hostname: str = ""
    """ContainerHostname, empty where not given."""
    image_access: str = ""
    """ImageConfig.RepositoryAccessMode, empty where not given."""
    server: ServerSpec | None = None
    """The command of an image of the user's own, as it was when the model was created."""

    @property
    def artifact(self) -> str:
        """What is fetched and pinned for it, as one: the model data, and after a line feed, which no address holds, the
        scripts of an s3:// SAGEMAKER_SUBMIT_DIRECTORY, which take the place of the folder `code/`."""
        scripts = self.environment.get(SUBMIT_DIRECTORY, "")
        return f"{self.model_data_url}\n{scripts}" if scripts.startswith("s3://") else self.model_data_url


@dataclass(frozen=True)
class ModelSpec:
    """CreateModel's request, checked."""

    containers: tuple[Container, ...]
    role_arn: str = ""
    listed: bool = False
    """Given as Containers rather than PrimaryContainer: described the same way it was created."""
    vpc: Vpc | None = None
    network_isolation: bool = False

    @property
    def primary(self) -> Container:
        """The container that requests enter."""
        return self.containers[0]


def check_model(spec: ModelSpec) -> None:
    """Raise Invalid or NotServed where the specification breaks a rule; both name the field."""
    if not spec.containers:
        raise Invalid("One of PrimaryContainer or Containers must be given.")
    if len(spec.containers) > 1:
        raise NotServed(
            f"An inference pipeline (Containers with {len(spec.containers)} entries)",
            "Create one model per container for now.",
        )
    for container in spec.containers:
        check_container(container)


def check_container(container: Container) -> None:
    """The rules of one ContainerDefinition."""
    if not container.model_data_url and container.server is None:
        raise Invalid(
            f"ModelDataUrl is missing: the image {container.image} needs a model artifact. "
            "Give the s3:// address of a model.tar.gz."
        )
    if container.model_data_url and not container.model_data_url.startswith(("s3://", "file:///")):
        raise Invalid(
            f"Value '{container.model_data_url}' at ModelDataUrl is neither an s3:// nor a file:/// address. "
            "Upload the archive with the S3 API and give s3://bucket/key."
        )
    check_environment(container.environment)


def check_environment(environment: dict[str, str]) -> None:
    """Keys and values up to 1024 bytes each, 32 KB together (the count of 100 is the shape's)."""
    total = 0
    for name, value in environment.items():
        for text, what in ((name, "key"), (value, "value")):
            size = len(text.encode())
            total += size
            if size > ENVIRONMENT_ITEM_BYTES_MAX:
                raise Invalid(
                    f"The {what} of Environment entry '{name[:64]}' has {size} bytes; "
                    f"at most {ENVIRONMENT_ITEM_BYTES_MAX} are allowed."
                )
            if "\0" in text or (what == "key" and ("=" in text or not text)):
                raise Invalid(f"The {what} of Environment entry '{name[:64]}' holds a character that none may hold.")
    if total > ENVIRONMENT_BYTES_MAX:
        raise Invalid(f"Environment has {total} bytes in all; at most {ENVIRONMENT_BYTES_MAX} are allowed.")
