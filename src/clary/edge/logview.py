"""Clary's own log view: `GET /clary/logs/ENDPOINT[/VARIANT]`, what the replicas of an endpoint print.

The text of a ModelError points here. Plain text, or a page where a browser asks. Query: `lines` (how many of each
replica's last lines), `follow=1` (go on as lines come), `format=json` (lines as they stand in the files), `region`.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clary.edge.visitor import Doorman, Lookup, Refused, VisitorOptions
from clary.kit import sigv4
from clary.kit.clock import Clock
from clary.kit.threads import Threads
from clary.telemetry.log_files import POLL_S, LogLine, Tail


@dataclass(frozen=True)
class LogViewOptions:
    """Who may look, and how much at once."""

    auth: bool
    """True: a valid SigV4 signature of any service, in a header or presigned. False: loopback rules only."""
    account: str
    """Of unsigned callers."""
    region: str
    """Of unsigned callers, where several regions hold the name."""
    hosts: tuple[str, ...] = ()
    """Host names answered besides loopback ones, without auth."""
    lines: int = 500
    """Where `lines` is not given."""
    lines_max: int = 10_000
    followers_max: int = 32
    """Views that follow at once; one more is refused with 503."""


@dataclass
class LogView:
    """What the handler works with."""

    logs: Path
    """`HOME/logs`; replicas' files are `endpoints/<endpoint uid>/<variant>/<replica uid>.log` below."""
    lookup: Lookup
    keys: sigv4.Keys
    clock: Clock
    threads: Threads
    options: LogViewOptions
    stopping: Callable[[], bool] = lambda: False
    """True ends every follower, so that none holds up the end of the process."""
    followers: int = field(default=0, init=False)


def routes(view: LogView) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def log_view(request: Request) -> Response:
        try:
            return await _log_view(view, request)
        except Refused as error:
            return JSONResponse({"code": error.code, "message": str(error)}, error.status)

    return [
        Route("/clary/logs/{name}", log_view, methods=["GET"]),
        Route("/clary/logs/{name}/{variant}", log_view, methods=["GET"]),
    ]


async def _log_view(view: LogView, request: Request) -> Response:
    name, variant = request.path_params["name"], request.path_params.get("variant")
    given = view.options
    who = VisitorOptions(given.auth, given.account, given.region, given.hosts)
    uid = await Doorman(view.lookup, view.keys, view.clock, who).endpoint_uid(request, name)
    lines = _lines(view.options, request)
    as_json = request.query_params.get("format") == "json"
    files = Files(view.logs / "endpoints" / uid, variant, as_json=as_json)
    as_page = not as_json and _prefers_html(request.headers.get("accept", ""))
    media = "text/html" if as_page else "application/x-ndjson" if as_json else "text/plain"
    headers = {
        "content-type": f"{media}; charset=utf-8",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
    title = f"{name}/{variant}" if variant else name
    if _flag(request, "follow"):
        if view.followers >= view.options.followers_max:
            raise Refused(503, "ServiceUnavailable", f"{view.options.followers_max} views follow logs already.")
        return StreamingResponse(_follow(view, files, lines, title if as_page else None), headers=headers)
    try:
        last = await view.threads.run(lambda: files.last(lines))
    finally:
        files.close()
    return Response(_page(title, last) if as_page else "".join(last), headers=headers)


async def _follow(view: LogView, files: Files, lines: int, page_title: str | None) -> AsyncIterator[str]:
    """The page's head if there is one, the last lines, then those that come; ended by the client or the server."""
    view.followers += 1
    try:
        last = await view.threads.run(lambda: files.last(lines))
        yield (_head(page_title) if page_title else "") + _shown(last, page=page_title is not None)
        while not view.stopping():
            new = await view.threads.run(files.more)
            if new:
                yield _shown(new, page=page_title is not None)
            else:
                await view.clock.sleep(POLL_S)
    finally:
        view.followers -= 1
        files.close()


class Files:
    """The log files of an endpoint's replicas, those of replicas yet to come included. Blocking."""

    def __init__(self, folder: Path, variant: str | None, *, as_json: bool) -> None:
        self._folder = folder
        self._variant = variant
        self._as_json = as_json
        self._tails: dict[Path, Tail] = {}

    def last(self, lines: int) -> list[str]:
        """The last lines of each file, in order of time as far as lines tell it; each ends in a line end."""
        found: list[tuple[str, str]] = []
        for path in self._paths():
            self._tails[path] = tail = Tail(path)
            at = ""
            for line in tail.last(lines):
                # What a model printed came after the last line with a time.
                at = max(at, line.ts)
                found.append((at, self._text(path, line)))
        found.sort(key=lambda pair: pair[0])
        return [text for _, text in found]

    def more(self) -> list[str]:
        """What came since, file by file."""
        new: list[str] = []
        for path in self._paths():
            tail = self._tails.get(path)
            if tail is None:
                tail = self._tails[path] = Tail(path)
            new.extend(self._text(path, line) for line in tail.more())
        return new

    def close(self) -> None:
        """Close all files."""
        for tail in self._tails.values():
            tail.close()

    def _paths(self) -> Iterable[Path]:
        # Compared with the names that are there, so that no name from outside is ever a path.
        return sorted(
            path for path in self._folder.glob("*/*.log") if self._variant is None or path.parent.name == self._variant
        )

    def _text(self, path: Path, line: LogLine) -> str:
        if self._as_json:
            return line.raw + "\n"
        # A replica's file is named by its uid, whose end tells it apart; others (environment.log) by a word.
        who = f"{path.parent.name}/{path.stem if path.stem.islower() else path.stem[-6:]}"
        if not line.ts:
            return f"[{who}] {line.raw}\n"
        facts = "".join(
            f" {key}={value}" for key, value in line.fields.items() if key not in ("endpoint", "variant", "replica")
        )
        return f"[{who}] {line.ts} {line.level} {line.event}{facts}\n"


def _lines(options: LogViewOptions, request: Request) -> int:
    given = request.query_params.get("lines")
    if given is None:
        return options.lines
    if not (given.isascii() and given.isdigit()) or len(given) > 9 or int(given) > options.lines_max:
        raise Refused(400, "ValidationException", f"lines must be a number from 0 to {options.lines_max}.")
    return int(given)


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "true", "yes")


def _prefers_html(accept: str) -> bool:
    """Browsers name text/html first; tools send */* or what they want."""
    return accept.split(",", maxsplit=1)[0].split(";", maxsplit=1)[0].strip().lower() == "text/html"


def _shown(lines: list[str], *, page: bool) -> str:
    return html.escape("".join(lines)) if page else "".join(lines)


def _head(title: str) -> str:
    name = html.escape(title)
    style = "body{font-family:system-ui;margin:1.5rem}pre{white-space:pre-wrap}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Log of {name}</title><style>{style}</style>'
        f'<h1>Log of {name}</h1><p><a href="?">last lines</a> · <a href="?follow=1">follow</a></p><pre>'
    )


def _page(title: str, lines: list[str]) -> str:
    text = _shown(lines, page=True) or "No lines yet.\n"
    return f"{_head(title)}{text}</pre></html>"
