"""`clary diff`: two versions of an endpoint side by side, down to what they predict."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.invoke import TYPES, body_of
from clary.cli.output import print_json, print_table
from clary.cli.versions import path_of, versions_of

ROWS_SHOWN_MAX = 10
Trial = dict[str, Any]


def diff(
    name: options.EndpointName,
    old: Annotated[int, typer.Argument(metavar="OLD", min=1, help="Number of a version.")],
    new: Annotated[int, typer.Argument(metavar="NEW", min=1, help="Number of another.")],
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Rows to have both predict, as for invoke.")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option("--content-type", metavar="TYPE", help="Type of the rows. Default: by the ending.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="NAME", help="Which variant of both. Default: the first of each.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare two versions, live or not: clary diff fraud 1 2 --file rows.csv.

    Both models are loaded beside what serves and asked there: signature, size, libraries, and predictions of the rows.
    """
    target = find(url, home, region, profile)
    body = b"" if file is None else body_of(file, None)
    kind = content_type or TYPES.get(file.suffix.lower() if file else "", "text/csv")
    made = {version["version"]: version for version in versions_of(Api(target), name)}
    for number in (old, new):
        if number not in made:
            raise CliError(Exit.NOT_FOUND, f"The endpoint {name} has no version {number}; it has 1 to {max(made)}.")
    with ThreadPoolExecutor(2) as pool:
        trials = list(pool.map(lambda number: trial_of(Api(target), name, number, body, kind, variant), (old, new)))
    document = document_of(name, [made[old], made[new]], trials, asked=bool(body))
    if as_json:
        print_json(document)
    else:
        show(document)


def trial_of(api: Api, name: str, number: int, body: bytes, content_type: str, variant: str | None) -> Trial:
    """The model of a version's variant, loaded once more and asked."""
    answer = api.call(
        "POST",
        f"/clary/api{path_of(name)}/versions/{number}/trial",
        service="clary",
        query="" if variant is None else f"variant={quote(variant, safe='')}",
        headers={"content-type": content_type},
        body=body,
    )
    trial: Trial = json.loads(answer.body)
    trial["body"] = base64.b64decode(trial["body"])
    return trial


def document_of(
    name: str, made: Sequence[Mapping[str, Any]], trials: Sequence[Trial], *, asked: bool
) -> dict[str, Any]:
    """What `diff --json` prints; docs/reference/json.md holds the shape."""
    facts = [_facts(version, trial) for version, trial in zip(made, trials, strict=True)]
    names = list(dict.fromkeys([*facts[0], *facts[1]]))
    rows = [{"fact": fact, "old": facts[0].get(fact), "new": facts[1].get(fact)} for fact in names]
    return {
        "name": name,
        "old": made[0]["version"],
        "new": made[1]["version"],
        "facts": [{**row, "same": row["old"] == row["new"]} for row in rows],
        "predictions": predictions(trials) if asked else None,
    }


def _facts(version: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    variant = next(one for one in version["variants"] if one["variant"] == trial["variant"])
    signature = trial["signature"]
    columns = signature.get("columns") or []
    named = [str(column.get("name") or "") for column in columns]
    return {
        "state": version["state"],
        "model": variant["model"],
        "runtime": variant["runtime"],
        "artifact": variant["digest"],
        "bytes": trial["bytes"],
        "columns": len(columns) or None,
        "column names": ", ".join(named) if any(named) else None,
        "column types": ", ".join(dict.fromkeys(str(column.get("kind")) for column in columns)) or None,
        "outputs": signature.get("outputs"),
        "accepts": ", ".join(signature.get("accepts") or []) or None,
        **{f"library {library}": number for library, number in sorted(trial["libraries"].items())},
        **({"cannot be loaded": trial["cause"]} if trial["cause"] else {}),
    }


def predictions(trials: Sequence[Trial]) -> dict[str, Any]:
    """Row by row what both answered. A model that refused has its words in `errors`."""
    errors = [None if 200 <= trial["status"] < 300 else _words(trial) for trial in trials]
    if any(errors):
        return {"rows": 0, "differing": None, "largest": None, "examples": [], "errors": errors}
    old, new = (rows_of(trial["body"], trial["content_type"]) for trial in trials)
    pairs = [(n, a, b, distance(a, b)) for n, (a, b) in enumerate(zip(old, new, strict=False), 1)]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    numbers = [gap for _, _, _, gap in differing if gap is not None]
    counts = None if len(old) == len(new) else f"{len(old)} rows against {len(new)}"
    shown = sorted(differing, key=lambda pair: -(math.inf if pair[3] is None else pair[3]))[:ROWS_SHOWN_MAX]
    return {
        "rows": len(pairs),
        "differing": len(differing),
        "largest": max(numbers, default=0.0) if len(numbers) == len(differing) else None,
        "examples": [{"row": n, "old": a, "new": b} for n, a, b, _ in sorted(shown)],
        "errors": [counts, counts],
    }


def _words(trial: Trial) -> str:
    said = trial["body"].decode("utf-8", "replace").strip()
    return trial["cause"] or f"{trial['status']}: {said[:500]}"


def rows_of(body: bytes, content_type: str) -> list[str]:
    """The predictions of an answer, one text each."""
    text = body.decode("utf-8", "replace")
    if "json" in content_type and "lines" not in content_type:
        try:
            document = json.loads(text)
        except ValueError:
            return text.splitlines()
        if isinstance(document, dict) and len(document) == 1:  # {"predictions": [...]} and its like
            document = next(iter(document.values()))
        return [json.dumps(row) for row in document] if isinstance(document, list) else [json.dumps(document)]
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and "csv" in content_type:
        return [cell.strip() for cell in lines[0].split(",")]  # one line for all rows, as some containers answer
    return lines


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def distance(old: str, new: str) -> float | None:
    """The largest difference between the numbers of two rows; None where the rows differ in more than numbers."""
    if _NUMBER.sub("#", old) != _NUMBER.sub("#", new):
        return None
    gaps = [abs(float(a) - float(b)) for a, b in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)]
    return max(gaps, default=0.0)


def show(document: Mapping[str, Any]) -> None:
    """For people."""
    columns = ["", f"VERSION {document['old']}", f"VERSION {document['new']}", ""]
    facts = [[row["fact"], row["old"], row["new"], "" if row["same"] else "differs"] for row in document["facts"]]
    print_table(columns, facts, empty="")
    found = document["predictions"]
    if found is None:
        return
    print()
    for number, error in zip((document["old"], document["new"]), found["errors"], strict=True):
        if error:
            print(f"Version {number}: {error}")
    if found["differing"] is None:
        return
    largest = "" if found["largest"] is None else f"; the largest difference is {found['largest']:g}"
    print(f"{found['differing']} of {found['rows']} predictions differ{largest}.")
    if found["examples"]:
        rows = [[row["row"], row["old"], row["new"]] for row in found["examples"]]
        print_table(["ROW", *columns[1:3]], rows, empty="")
