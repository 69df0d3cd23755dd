"""pytest fixtures: a server that really hosts and really predicts, in the place of a mock.

Loaded by pytest wherever Clary is installed; nothing starts before a test asks. See docs/how-to/testing.md.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clary.cli.api import Api
    from clary.cli.clear import Inventory
    from clary.cli.connect import Target


class ClaryServer:
    """A running server of this test session."""

    def __init__(self, target: Target, scratch: Path) -> None:
        from clary.cli.api import Api

        self._target = target
        self._scratch = scratch
        self._api: Api = Api(target)
        self.url: str = target.url
        """`http://127.0.0.1:PORT`: what AWS clients take as endpoint_url."""
        self.region: str = target.region

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which AWS clients find the server: for subprocesses of a test."""
        from clary.cli.env import variables

        return variables(self._target, os.environ)

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client of the server, wherever the environment points; `options` as boto3.client's."""
        boto3: Any = importlib.import_module("boto3")  # the tests' own; Clary itself does without
        keys = self._target.keys
        return boto3.client(
            service,
            **{
                "endpoint_url": self.url,
                "region_name": self.region,
                "aws_access_key_id": keys.key_id,
                "aws_secret_access_key": keys.secret,
                **options,
            },
        )

    def deploy(self, model: object, name: str, *, instances: int = 1) -> str:
        """Host a model under the endpoint `name` and wait until it is in service; the URL of its invocations.

        `model`: a file, folder or tar.gz as `clary deploy` takes them, or a fitted model: an XGBoost or LightGBM
        booster or estimator, or anything with `predict` that joblib writes. Raises CliError where it cannot be served.
        """
        from clary.cli import deploy, resources
        from clary.cli.recognise import recognised

        path = Path(model) if isinstance(model, (str, os.PathLike)) else save(model, self._scratch / name)
        made = deploy.create(self._api, path, recognised(path), name, instances, "ml.t3.medium", quiet=True)
        deploy.wait_in_service(self._api, made, quiet=True)
        return resources.invocation_url(self._api, name)

    def predict(self, name: str, body: str | bytes, content_type: str = "text/csv", accept: str | None = None) -> str:
        """The text that the model answers to one request. Raises ApiError where it refuses."""
        headers = {"content-type": content_type, **({"accept": accept} if accept else {})}
        raw = body.encode() if isinstance(body, str) else body
        return self._api.invoke(name, raw, headers).body.decode()

    def inventory(self) -> Inventory:
        """Everything that the server has just now."""
        from clary.cli.clear import inventory

        return inventory(self._api)

    def clear(self, keep: Inventory | None = None) -> None:
        """Delete every endpoint, configuration, model and bucket but those that `keep` names."""
        from clary.cli.clear import clear

        clear(self._api, keep)


def save(model: object, folder: Path) -> Path:
    """The model as a file below `folder`, in its library's own format. Raises TypeError for what cannot predict."""
    folder.mkdir(parents=True, exist_ok=True)
    package = type(model).__module__.partition(".")[0]
    own: Any = model
    if package == "xgboost" and hasattr(own, "save_model"):
        path = folder / "model.ubj"
        own.save_model(path)
        return path
    if package == "lightgbm" and (hasattr(own, "booster_") or hasattr(own, "save_model")):
        path = folder / "model.txt"
        getattr(own, "booster_", own).save_model(path)
        return path
    if not hasattr(own, "predict"):
        raise TypeError(f"a {type(model).__name__} has no predict; give a fitted model, or the path of one")
    import joblib

    path = folder / "model.joblib"
    joblib.dump(model, path)
    return path


@pytest.fixture(scope="session")
def clary_session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClaryServer]:
    """One server for the session; the environment stays as it is. For fixtures that deploy once for many tests."""
    from clary.cli.private import private_server

    with private_server(None) as target:
        yield ClaryServer(target, tmp_path_factory.mktemp("clary"))


@pytest.fixture
def clary_server(clary_session_server: ClaryServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaryServer]:
    """The session's server, found by every AWS client of this test; what the test makes there is deleted after it."""
    from clary.cli.env import conflicting

    for name in conflicting(os.environ):
        monkeypatch.delenv(name)
    for name, value in clary_session_server.environment.items():
        monkeypatch.setenv(name, value)
    boto3 = sys.modules.get("boto3")
    if boto3 is not None:  # its default session would keep the credentials that it found before
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    before = clary_session_server.inventory()
    yield clary_session_server
    clary_session_server.clear(keep=before)
