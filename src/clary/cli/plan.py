"""`clary plan`: the difference between a description and what runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import number, print_json
from clary.description.difference import Change, Deed, Value

SIGNS = {Deed.CREATE: "+", Deed.UPDATE: "~", Deed.DELETE: "-"}
Prune = Annotated[
    bool,
    typer.Option("--prune", help="Also delete what this description once made and no longer holds; it needs a name."),
]


def plan(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The description: TOML, else YAML.", show_default=False)
    ] = None,
    prune: Prune = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of descriptions.")] = False,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show, field by field, what `clary apply` would change: clary plan shop.toml."""
    from clary.description.schema import SCHEMA

    if schema:
        print_json(SCHEMA)
        return
    if file is None:
        raise CliError(Exit.USAGE, "Give the FILE of a description.")
    from clary.cli.described import description_of

    description = description_of(file)
    found, _ = changes_of(Api(find(url, home, region, profile)), description, prune=prune)
    if as_json:
        print_json({"changes": shown(found)})
    else:
        show(found)


def changes_of(api: Api, description: Any, *, prune: bool) -> tuple[list[Change], Any]:
    """What is to be done, and what runs. `description`, and the latter, as cli/described.py has them."""
    from clary.cli.described import running, things_wanted
    from clary.description.difference import differences

    if prune and not description.wanted.name:
        raise CliError(Exit.USAGE, "--prune needs a 'name' in the description, which marks what was made of it.")
    have = running(api, description, prune=prune)
    return differences(things_wanted(api, description), have.things, have.surplus), have


def show(found: Sequence[Change]) -> None:
    """For people."""
    if not found:
        print("Nothing to change: what runs is what is described.")
        return
    for change in found:
        print(f"{SIGNS[change.deed]} {change.kind} {change.name}")
        for field in change.fields:
            if change.deed is Deed.CREATE:
                print(f"    {field.name} = {_text(field.new)}")
            else:
                print(f"    {field.name}: {_text(field.old)} -> {_text(field.new)}")
    counts = {deed: sum(change.deed is deed for change in found) for deed in Deed}
    print(f"{counts[Deed.CREATE]} to create, {counts[Deed.UPDATE]} to update, {counts[Deed.DELETE]} to delete")


def shown(found: Sequence[Change]) -> list[dict[str, object]]:
    """What `plan --json` prints as `changes`; docs/reference/json.md holds the shape."""
    return [
        {
            "action": change.deed.value,
            "kind": change.kind.value,
            "name": change.name,
            "fields": [{"field": field.name, "from": field.old, "to": field.new} for field in change.fields],
        }
        for change in found
    ]


def _text(value: Value) -> str:
    if value is None:
        return "none"
    return number(value) if isinstance(value, float) else str(value)
