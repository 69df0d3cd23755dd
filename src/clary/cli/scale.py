"""`clary scale`: so many requests at once for each replica; the rest follows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json, print_table
from clary.cli.versions import path_of

_BY = {"load": "load", "target": "Application Auto Scaling", "nothing": "-"}


def scale(
    name: options.EndpointName,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, metavar="N", help="Requests at once for each replica. Default: 4."),
    ] = None,
    least: Annotated[
        int | None,
        typer.Option("--min", min=0, metavar="N", help="Fewest replicas; 0: none while nobody asks. Default: 1."),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--max", min=1, metavar="N", help="Most replicas. Default: as many as there are cores."),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            min=5,
            metavar="SECONDS",
            help="Replicas go when the last so many needed none of them. Default: 60.",
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option("--variant", metavar="NAME", help="Which variant, where the endpoint has several.")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Scale no more; the replicas that there are stay.")] = False,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Scale an endpoint with its load: clary scale fraud --concurrency 8. Without options: show how it is scaled.

    Decided every second by the requests that replicas have and those that wait: out within seconds, in slowly.
    """
    given = {
        key: value
        for key, value in (("concurrency", concurrency), ("min", least), ("max", most), ("window_s", window))
        if value is not None
    }
    if off and given:
        raise CliError(Exit.USAGE, "--off goes with --variant only.")
    api = Api(find(url, home, region, profile))
    if off:
        found = turned_off(api, name, variant)
    else:
        found = put(api, name, {**given, **_named(variant)}) if given else show(api, name)
    if as_json:
        print_json(found)
        return
    print_table(
        ["VARIANT", "SCALED BY", "REPLICAS", "MIN", "MAX", "REQUESTS NOW", "FOR EACH"],
        [
            [
                one["variant"],
                _BY[one["by"]],
                _replicas(one),
                _or_dash(one["min"]),
                _or_dash(one["max"]),
                f"{one['load']:.1f}",
                _or_dash(one["concurrency"]),
            ]
            for one in found["variants"]
        ],
        empty="",
    )
    if most is not None and most > found["cores"]:
        note(f"\nThis machine has {found['cores']} cores: more replicas than that would not serve more.")


def show(api: Api, name: str) -> dict[str, Any]:
    """How the variants of an endpoint are scaled; docs/reference/json.md holds the shape."""
    return api.admin("GET", f"{path_of(name)}/scale")


def put(api: Api, name: str, members: dict[str, Any]) -> dict[str, Any]:
    """Scale a variant; what `members` leave out stays, or is the default."""
    return api.admin("PUT", f"{path_of(name)}/scale", members)


def scaled_now(api: Api, name: str, *, off: bool) -> dict[str, Any] | None:
    """The first variant of an endpoint that is scaled with its load, None where none is; `off`: none shall be."""
    found = [one for one in show(api, name)["variants"] if one["by"] == "load"]
    if off:
        for one in found:
            turned_off(api, name, one["variant"])
        return None
    return found[0] if found else None


def turned_off(api: Api, name: str, variant: str = "") -> dict[str, Any]:
    """Scale a variant no more."""
    return api.admin("DELETE", f"{path_of(name)}/scale", _named(variant))


def _named(variant: str) -> dict[str, Any]:
    return {"variant": variant} if variant else {}


def _replicas(one: dict[str, Any]) -> str:
    return str(one["ready"]) if one["ready"] == one["wanted"] else f"{one['ready']} of {one['wanted']}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
