"""`clary invoke`: one request to a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json

BODY_BYTES_MAX = 25 * 1024 * 1024
"""What the service takes in one request."""
TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".libsvm": "text/libsvm",
    ".svm": "text/libsvm",
    ".npy": "application/x-npy",
    ".parquet": "application/x-parquet",
    ".recordio": "application/x-recordio-protobuf",
    ".txt": "text/csv",
}


def invoke(
    name: options.EndpointName,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Send this file; - is standard input.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", metavar="TEXT", help="Send this text.")] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type", metavar="TYPE", help="Type of what is sent. Default: by the file's ending, else text/csv."
        ),
    ] = None,
    accept: Annotated[
        str | None, typer.Option("--accept", metavar="TYPE", help="Type of answer to ask for. Default: the model's.")
    ] = None,
    target_variant: Annotated[
        str | None, typer.Option("--target-variant", metavar="NAME", help="Ask this variant, whatever the weights.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask a model: clary invoke fraud --data '1.0,2.0,3.0' (or --file, or standard input)."""
    body = body_of(file, data)
    headers = {"content-type": content_type or TYPES.get(file.suffix.lower() if file else "", "text/csv")}
    if accept is not None:
        headers["accept"] = accept
    if target_variant is not None:
        headers["x-amzn-sagemaker-target-variant"] = target_variant
    answer = Api(find(url, home, region, profile)).invoke(name, body, headers)
    if as_json:
        print_json(
            {
                "endpoint": name,
                "variant": answer.headers.get("x-amzn-invoked-production-variant"),
                "request_id": answer.headers.get("x-amzn-requestid"),
                "content_type": answer.headers.get("content-type"),
                "body": answer.body.decode("utf-8", "replace"),
            }
        )
        return
    if answer.status == 204:
        note("The model answered with nothing (204): was the request empty?")
    sys.stdout.buffer.write(answer.body)
    if sys.stdout.isatty() and not answer.body.endswith(b"\n"):
        print()
    sys.stdout.flush()


def body_of(file: Path | None, data: str | None) -> bytes:
    """What to send: the text, the file, or standard input where neither is given."""
    if file is not None and data is not None:
        raise CliError(Exit.USAGE, "--file and --data are both given.", "Give one of them.")
    if data is not None:
        body = data.encode()
    elif file is not None and str(file) != "-":
        try:
            body = file.read_bytes()
        except OSError as error:
            raise CliError(Exit.USAGE, f"--file {str(file)!r} cannot be read: {error.strerror}.") from None
    else:
        if file is None and sys.stdin.isatty():
            raise CliError(Exit.USAGE, "Nothing to send.", "Give --data TEXT or --file FILE, or pipe something in.")
        body = sys.stdin.buffer.read(BODY_BYTES_MAX + 1)
    if len(body) > BODY_BYTES_MAX:
        raise CliError(
            Exit.USAGE,
            f"The request is larger than {BODY_BYTES_MAX:,} bytes, the most the service takes.",
            "Send fewer rows at a time.",
        )
    return body
