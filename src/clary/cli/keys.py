"""`clary keys`: access keys of this server. They work here and nowhere else."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.output import note, print_facts, print_json, print_table

app = typer.Typer(help="Access keys of this server; they work here and nowhere else.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it, such as ci or airflow.")],
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a key. Its secret is shown this once."""
    made = Api(find(url, home, region, profile)).admin("POST", "/keys", {"name": name})
    if as_json:
        print_json(made)
        return
    print_facts({"key id": made["key_id"], "secret": made["secret"], "arn": made["arn"]})
    note("The secret is not shown again.")


@app.command("list")
def list_(
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List the keys, without their secrets."""
    found = Api(find(url, home, region, profile)).admin("GET", "/keys")
    if as_json:
        print_json(found)
        return
    columns = ("key_id", "name", "status", "created")
    rows = [[key.get(column) for column in columns] for key in found["keys"]]
    print_table(["KEY ID", "NAME", "STATUS", "CREATED (UTC)"], rows, empty="No keys.")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `clary keys list` shows it.")],
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """End a key: requests signed with it are refused from now on."""
    Api(find(url, home, region, profile)).admin("DELETE", f"/keys/{quote(key_id, safe='')}")
    if as_json:
        print_json({"revoked": key_id})
    else:
        print(f"revoked {key_id}")
