"""All commands under their names: what `clary --help` lists."""

from __future__ import annotations

from typing import Annotated

import typer

from clary import __version__
from clary.cli import (
    actions,
    alarms,
    apply,
    audit,
    backup,
    config,
    deploy,
    diff,
    doctor,
    env,
    exec,
    import_,
    invoke,
    keys,
    logs,
    metrics,
    own_images,
    plan,
    promote,
    remove,
    resources,
    rollback,
    rollout,
    scale,
    serve,
    simulate,
    status,
    train,
    versions,
)

HELP = """Model hosting you own: the SageMaker hosting API, self-hosted.

clary serve                            start a server

clary deploy model.json --name fraud   put a model behind a live endpoint

eval "$(clary env)"                    let boto3, the AWS CLI and the SDKs find it
"""

app = typer.Typer(
    name="clary", help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"clary {__version__}")
        raise typer.Exit


@app.callback()
def clary(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command as a whole; its help text stands at `app`."""


SERVER, MODELS, ACCESS = "Server", "Models", "Access for AWS clients"

app.command("serve", rich_help_panel=SERVER)(serve.serve)
app.command("config", rich_help_panel=SERVER)(config.config)
app.command("doctor", rich_help_panel=SERVER)(doctor.doctor)
app.add_typer(audit.app, name="audit", rich_help_panel=SERVER)
app.command("backup", rich_help_panel=SERVER)(backup.backup)
app.command("restore", rich_help_panel=SERVER)(backup.restore)
app.command("deploy", rich_help_panel=MODELS)(deploy.deploy)
app.command("import", rich_help_panel=MODELS)(import_.import_)
app.command("train", rich_help_panel=MODELS)(train.train)
app.command("invoke", rich_help_panel=MODELS)(invoke.invoke)
app.command("versions", rich_help_panel=MODELS)(versions.versions)
app.command("scale", rich_help_panel=MODELS)(scale.scale)
app.command("rollback", rich_help_panel=MODELS)(rollback.rollback)
app.command("rollout", rich_help_panel=MODELS)(rollout.rollout)
app.command("promote", rich_help_panel=MODELS)(promote.promote)
app.command("status", rich_help_panel=MODELS)(status.status)
app.command("plan", rich_help_panel=MODELS)(plan.plan)
app.command("apply", rich_help_panel=MODELS)(apply.apply)
app.command("diff", rich_help_panel=MODELS)(diff.diff)
app.add_typer(own_images.app, name="images", rich_help_panel=MODELS)
app.command("list", rich_help_panel=MODELS)(resources.list_)
app.command("describe", rich_help_panel=MODELS)(resources.describe)
app.command("logs", rich_help_panel=MODELS)(logs.logs)
app.add_typer(metrics.app, name="metrics", rich_help_panel=MODELS)
app.add_typer(alarms.app, name="alarms", rich_help_panel=MODELS)
app.add_typer(actions.app, name="actions", rich_help_panel=MODELS)
app.add_typer(simulate.app, name="simulate", rich_help_panel=MODELS)
app.command("delete", rich_help_panel=MODELS)(remove.delete)
app.command("env", rich_help_panel=ACCESS)(env.env)
app.command("exec", rich_help_panel=ACCESS, context_settings={"allow_interspersed_args": False})(exec.exec_)
app.add_typer(keys.app, name="keys", rich_help_panel=ACCESS)
