"""`clary train`: from files on this machine to a trained model in the object store, in one command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api, ApiError
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_facts, print_json, upload_progress
from clary.cli.pack import files_of, packed

ROLE = "arn:aws:iam::{account}:role/clary-train"
"""The API requires a role; a training here needs none."""
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""TrainingJobName in the API reference."""
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
CONTENT_TYPES = {".csv": "text/csv", ".libsvm": "text/libsvm", ".svm": "text/libsvm"}
RESOURCES = {"InstanceType": "ml.m5.24xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
"""The API requires an instance; the job gets what this machine has, at most its 96 cores."""
_POLL_S = 0.5
_ENDED = ("Completed", "Failed", "Stopped")


def train(
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SCRIPT]", help="A training script, or a folder with it; none: the XGBoost algorithm trains."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="NAME", help="Name of the job. [train-DATE]")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", "-c", metavar="NAME=PATH", help="Input: a file, a folder, or an s3:// prefix."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="A hyperparameter.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME=REGEX", help="A metric: the first group in a line of the log."),
    ] = None,
    entry: Annotated[
        str, typer.Option("--entry", metavar="FILE", help="Entry point within a SCRIPT that is a folder.")
    ] = "train.py",
    image: Annotated[
        str | None, typer.Option("--image", metavar="NAME", help="xgboost, sklearn or an image URI. [xgboost; sklearn]")
    ] = None,
    max_runtime_s: Annotated[
        int, typer.Option("--max-runtime", min=1, metavar="SECONDS", help="The job is stopped after that.")
    ] = 86_400,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, and print the log.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a model: clary train -c train=data.csv -s num_round=100."""
    chosen = name or f"train-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if not NAME.fullmatch(chosen):
        raise CliError(
            Exit.USAGE, f"--name {chosen!r} cannot name a job.", "Use 1 to 63 letters, digits and inner hyphens."
        )
    channels, settings = pairs("--channel", channel), pairs("--set", setting)
    metrics = pairs("--metric", metric)
    if script is not None and not script.exists():
        raise CliError(Exit.USAGE, f"SCRIPT {str(script)!r} does not exist.", "Give a Python file or a folder.")
    if script is None and "train" not in channels:
        raise CliError(Exit.USAGE, "The XGBoost algorithm needs a channel train.", "Give --channel train=FILE.csv.")
    uri = image_of(image or ("xgboost" if script is None else "sklearn"))
    api = Api(find(url, home, region, profile))
    account = api.account()
    store = _Store(api, f"sagemaker-{api.target.region}-{account}", f"clary/{chosen}", quiet=as_json)
    inputs = [store.channel(key, where) for key, where in channels.items()]
    if script is not None:
        program, code = store.code(script, entry)
        settings = {"sagemaker_program": program, "sagemaker_submit_directory": code, **settings}
    request = {
        "TrainingJobName": chosen,
        "AlgorithmSpecification": _algorithm(uri, metrics),
        "RoleArn": ROLE.format(account=account),
        "HyperParameters": settings,
        "OutputDataConfig": {"S3OutputPath": f"s3://{store.bucket}/clary"},
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": max_runtime_s},
    }
    api.sagemaker("CreateTrainingJob", **request, **({"InputDataConfig": inputs} if inputs else {}))
    if wait:
        _follow(api, chosen, quiet=as_json)
    _report(api, chosen, as_json=as_json)


def _algorithm(uri: str, metrics: dict[str, str]) -> dict[str, Any]:
    """AlgorithmSpecification."""
    definitions = [{"Name": name, "Regex": regex} for name, regex in metrics.items()]
    found = {"TrainingImage": uri, "TrainingInputMode": "File"}
    return {**found, "MetricDefinitions": definitions} if definitions else dict(found)


def pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping. Raises CliError."""
    found: dict[str, str] = {}
    for text in given or ():
        name, mark, value = text.partition("=")
        if not mark or not name or name in found:
            raise CliError(Exit.USAGE, f"{option} {text!r} is not a NAME=VALUE, or is given twice.")
        found[name] = value
    return found


def image_of(given: str) -> str:
    """The URI of `xgboost` or `sklearn`, or what was given."""
    from clary.runtimes.images import image_for

    if "/" in given:
        return given
    if given not in ("xgboost", "sklearn"):
        raise CliError(Exit.USAGE, f"--image {given!r} does not train.", "Give xgboost, sklearn or an image URI.")
    return image_for(given)


class _Store:
    """What a job needs, put below one prefix of the server's object store."""

    def __init__(self, api: Api, bucket: str, prefix: str, *, quiet: bool) -> None:
        self.bucket = bucket
        self._api = api
        self._prefix = prefix
        self._quiet = quiet
        api.make_bucket(bucket)

    def channel(self, name: str, where: str) -> dict[str, Any]:
        """One entry of InputDataConfig; a path is uploaded. Its files' names tell the content type."""
        kind = CONTENT_TYPES.get(Path(where).suffix.lower(), "")
        if not where.startswith("s3://"):
            path = Path(where)
            files = files_of(path) if path.exists() else []
            if not files:
                raise CliError(Exit.USAGE, f"--channel {name}={where}: there is no file there.")
            kind = kind or next((CONTENT_TYPES.get(file.suffix.lower(), "") for file, _ in files), "")
            for file, below in files:
                self._put(file, f"{self._prefix}/input/{name}/{below}")
            where = f"s3://{self.bucket}/{self._prefix}/input/{name}/"
        source = {"S3DataType": "S3Prefix", "S3Uri": where}
        described = {"ChannelName": name, "DataSource": {"S3DataSource": source}}
        return {**described, "ContentType": kind} if kind else described

    def code(self, script: Path, entry: str) -> tuple[str, str]:
        """Entry point and address of the code."""
        program = script.name if script.is_file() else entry
        if script.is_dir() and not (script / entry).is_file():
            raise CliError(Exit.USAGE, f"--entry {entry!r} is not in {script}.", "Name a file of that folder.")
        key = f"{self._prefix}/source/sourcedir.tar.gz"
        with packed(script) as (archive, size_bytes, _), upload_progress(size_bytes, quiet=self._quiet) as progress:
            self._api.upload(self.bucket, key, archive, size_bytes, progress)
        return program, f"s3://{self.bucket}/{key}"

    def _put(self, file: Path, key: str) -> None:
        size_bytes = file.stat().st_size
        with file.open("rb") as source, upload_progress(size_bytes, quiet=self._quiet) as progress:
            self._api.upload(self.bucket, key, source, size_bytes, progress)


def _follow(api: Api, name: str, *, quiet: bool) -> None:
    """Print the log on stderr until the job has ended."""
    say: Callable[[str], None] = (lambda _text: None) if quiet else note
    say(f"Training job {name}; Ctrl-C leaves it running.")
    summary = _summary(api, name)
    stream = f"{name}/algo-1-{int(summary['CreationTime'])}"
    token = None
    status = ""
    while summary["TrainingJobStatus"] not in _ENDED:
        if summary.get("SecondaryStatus") != status:
            status = summary.get("SecondaryStatus", "")
            say(f"-- {status}")
        token = _print_log(api, stream, token, say)
        time.sleep(_POLL_S)
        summary = _summary(api, name)
    _print_log(api, stream, token, say)


def _summary(api: Api, name: str) -> dict[str, Any]:
    """The job as listed: unlike Describe, List never holds its answer."""
    for found in api.pages("ListTrainingJobs", "TrainingJobSummaries", NameContains=name):
        if found["TrainingJobName"] == name:
            return found
    raise CliError(Exit.NOT_FOUND, f"There is no training job {name}.")


def _print_log(api: Api, stream: str, token: str | None, say: Callable[[str], None]) -> str | None:
    """Print what came since `token`; where to go on."""
    for messages, after in _log_pages(api, stream, token):
        for message in messages:
            say(message)
        token = after
    return token


def _log_pages(api: Api, stream: str, token: str | None) -> Iterator[tuple[list[str], str | None]]:
    while True:
        asked = {"logGroupName": LOG_GROUP, "logStreamName": stream, "startFromHead": True}
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "Logs_20140328.GetLogEvents"}
        body = json.dumps({**asked, **({"nextToken": token} if token else {})}).encode()
        try:
            answer = json.loads(api.call("POST", "/", service="logs", headers=headers, body=body).body)
        except ApiError:
            return  # no line yet
        after = answer.get("nextForwardToken")
        yield [event["message"] for event in answer["events"]], after
        if not answer["events"] or after == token:
            return
        token = after


def _report(api: Api, name: str, *, as_json: bool) -> None:
    job = api.sagemaker("DescribeTrainingJob", TrainingJobName=name)
    document = {
        "name": job["TrainingJobName"],
        "status": job["TrainingJobStatus"],
        "failure_reason": job.get("FailureReason"),
        "artifact": job.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "metrics": {metric["MetricName"]: metric["Value"] for metric in job.get("FinalMetricDataList", [])},
        "seconds": job.get("TrainingTimeInSeconds"),
    }
    if as_json:
        print_json(document)
    else:
        metrics = ", ".join(f"{key} {value:g}" for key, value in document["metrics"].items())
        print_facts({**{key: document[key] for key in ("name", "status", "artifact", "seconds")}, "metrics": metrics})
    if job["TrainingJobStatus"] == "Failed":
        raise CliError(Exit.FAILED, f"The training job {name} failed: {job.get('FailureReason', 'no reason given')}")
