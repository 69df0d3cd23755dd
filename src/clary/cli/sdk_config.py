"""The SageMaker SDK's own configuration file, so that `sagemaker.Session()` works as it is.

Without a default bucket the SDK asks the public STS host for the account, and it reports each call to a public bucket:
both fail on a machine without internet, the second only after half a minute (SDK 2.257 and 3.27, observed).
Read through SAGEMAKER_USER_CONFIG_OVERRIDE; the user's own file, if that is set already, stays in charge.
Where HOME is not this user's to write (a server elsewhere, or somebody else's) no file is written and nothing is set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from clary.cli.connect import Target, read_json
from clary.settings import ACCOUNT_DEFAULT

VARIABLE = "SAGEMAKER_USER_CONFIG_OVERRIDE"
FILE = "sagemaker-sdk.yaml"


def sdk_variables(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """What to set for the SDKs; writes the file into HOME where there is one."""
    found = {"AWS_DISABLE_HOST_PREFIX_INJECTION": "true"}
    if "SAGEMAKER_VALIDATE_ROLE" not in environ:
        # SDK 3 asks IAM to simulate the role's policies before it makes a model; here they are stored, not enforced.
        found["SAGEMAKER_VALIDATE_ROLE"] = "false"
    folder = target.home / "run"
    past = environ.get(VARIABLE)
    # A file of another Clary, such as that of an `exec` around this one, is nobody's own choice.
    if (past is None or Path(past).name == FILE) and os.access(folder, os.W_OK):
        account = read_json(folder / "server.json").get("account", ACCOUNT_DEFAULT)
        _replace(folder / FILE, sdk_config(f"sagemaker-{target.region}-{account}"))
        found[VARIABLE] = str(folder / FILE)
    return found


def sdk_config(bucket: str) -> str:
    """The file's text. The bucket has the name that the SDK itself would choose; it creates it when it needs it."""
    return (
        "# written by `clary env` and `clary exec`; changes are lost when they run again\n"
        "SchemaVersion: '1.0'\n"
        "SageMaker:\n"
        "  PythonSDK:\n"
        "    Modules:\n"
        "      TelemetryOptOut: true\n"
        "      Session:\n"
        f"        DefaultS3Bucket: {bucket}\n"
    )


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
