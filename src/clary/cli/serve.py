"""`clary serve`: resolve the options, prepare HOME, and become the agent."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clary import __version__
from clary.cli.exit_codes import CliError, Exit
from clary.settings import SettingError, Settings, make_private_folder, otlp_options, resolve, runtime_dir
from clary.store.address import remember


def serve(
    home: Annotated[
        str | None, typer.Option("--home", metavar="DIR", help="Folder for everything Clary keeps.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address to bind.")] = None,
    port: Annotated[str | None, typer.Option("--port", metavar="PORT", help="Port for every protocol.")] = None,
    routers: Annotated[str | None, typer.Option("--routers", metavar="N", help="Processes on the hot path.")] = None,
    auth: Annotated[
        str | None, typer.Option("--auth", metavar="none|sigv4", help="Whether signatures are checked.")
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="ACCOUNT", help="Twelve digits for every ARN.")
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="Region where a request names none.")
    ] = None,
    no_long_poll: Annotated[
        bool, typer.Option("--no-long-poll", help="Answer DescribeEndpoint at once, also during a transition.")
    ] = False,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Run no code of models': refuse scripts and unknown pickles.")
    ] = False,
    hosts: Annotated[
        str | None, typer.Option("--hosts", metavar="NAME,...", help="Host names answered besides loopback ones.")
    ] = None,
    object_store: Annotated[
        str | None,
        typer.Option(
            "--object-store", metavar="s3://BUCKET?endpoint=URL,...", help="Buckets that lie in other object stores."
        ),
    ] = None,
    model_roots: Annotated[
        str | None,
        typer.Option("--model-roots", metavar="DIR,...", help="Folders below which file:/// models may lie."),
    ] = None,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option("--otlp-endpoint", metavar="URL", help="OpenTelemetry collector that gets metrics and traces."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="postgresql://USER@HOST/DB", help="PostgreSQL database instead of HOME/clary.db."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="clary.toml to read.")] = None,
) -> None:
    """Run the server until Ctrl-C.

    Options come from flags, then CLARY_... variables, then the table [serve] of clary.toml, then defaults;
    `clary config` shows each with its source. Ready once GET /clary/health answers 200.
    """
    flags = {
        "home": home,
        "host": host,
        "port": port,
        "routers": routers,
        "auth": auth,
        "account": account,
        "region": region,
        "long_poll": "false" if no_long_poll else None,
        "untrusted": "true" if untrusted else None,
        "hosts": hosts,
        "object_store": object_store,
        "model_roots": model_roots,
        "otlp_endpoint": otlp_endpoint,
        "store": store,
    }
    try:
        settings, _ = resolve(flags, config=config)
        otlp_options(settings)
        sockets = runtime_dir(settings.home)
        for folder in (settings.home, settings.home / "run", settings.home / "logs", sockets):
            make_private_folder(folder)
        remember(settings.home, settings.store)
    except SettingError as error:
        raise CliError(Exit.USAGE, str(error)) from None
    except OSError as error:
        raise CliError(Exit.USAGE, f"{error.filename}: {error.strerror}. Choose another folder with --home.") from None
    options = settings.home / "run" / f"agent-{os.getpid()}.json"
    options.write_text(json.dumps(agent_options(settings, sockets)))
    sys.stdout.flush()
    # The agent takes this process over: it needs the standard library only, and Ctrl-C reaches it directly.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "clary.agent", str(options)])  # noqa: S606 - no shell is meant


def agent_options(settings: Settings, sockets: Path) -> dict[str, object]:
    """The members of agent.options.AgentOptions for these settings."""
    home = settings.home
    control = [
        *(sys.executable, "-P", "-m", "clary.assembly"),
        *("--home", str(home), "--host", settings.host, "--port", "{port}"),
        *("--routers", str(settings.routers), "--auth", settings.auth, "--account", settings.account),
        *(
            "--region",
            settings.region,
            "--long-poll",
            str(settings.long_poll).lower(),
            "--untrusted",
            str(settings.untrusted).lower(),
            "--hosts",
            ",".join(settings.hosts),
            "--object-store",
            ",".join(map(str, settings.object_store)),
            "--model-roots",
            ",".join(map(str, settings.model_roots)),
            "--otlp-endpoint",
            settings.otlp_endpoint,
            "--store",
            str(settings.store or ""),
        ),
    ]
    routers = [
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "clary.dataplane.router",
                "--name",
                f"router-{index}",
                "--listen-fd",
                "{listen_fd}",
            ),
            *("--runtime-dir", str(sockets), "--routes", str(home / "run" / "routes.json")),
            *("--spool", str(home / "spool" / f"router-{index}"), "--log", str(home / "logs" / f"router-{index}.log")),
        ]
        for index in range(settings.routers)
    ]
    return {
        "home": str(home),
        "runtime_dir": str(sockets),
        "host": settings.host,
        "port": settings.port,
        "control": control,
        "routers": routers,
        "banner": banner(settings),
        "version": __version__,
    }


def banner(settings: Settings) -> str:
    """What is printed once the server is ready: where it is, and how a client gets there."""
    home = "" if settings.home == Path("~/.clary").expanduser() else f" --home {settings.home}"
    return (
        f"Clary {__version__} serves at {settings.url}\n"
        f"  home     {settings.home}\n"
        f'  clients  eval "$(clary env{home})"   then boto3, the AWS CLI and the SageMaker SDK as they are\n'
        f"  deploy   clary deploy model.json --name my-model{home}\n"
        f"  stop     Ctrl-C\n"
    )
