"""Options that many commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Server to talk to. Default: CLARY_URL, AWS_ENDPOINT_URL, then HOME's own."
    ),
]
Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Clary's folder. Default: CLARY_HOME, then ~/.clary.")
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="NAME", help="Region to work in. Default: AWS_REGION, then the server's own."),
]
Profile = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="AWS profile whose keys and region to use.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, in the stable shape that docs/reference/json.md gives.")
]
EndpointName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the endpoint.")]
