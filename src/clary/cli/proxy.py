"""What `clary exec --proxy` adds: a loopback proxy, on a thread, that answers AWS's own host names from the target.

Only the command is told of it: the variables go to it alone, and nobody else on the machine knows the token in them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clary.cli.connect import Target
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note

if TYPE_CHECKING:
    from clary.edge.proxy.server import Proxy

LOOPBACK = ("localhost", "127.0.0.1", "::1")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables by which clients find whom they trust: botocore and the AWS CLI, requests, curl, OpenSSL."""
HEALTH_S = 5.0
STOP_S = 5.0


@contextmanager
def proxied(target: Target, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Variables that lead a command through a proxy to `target`, good while the block runs. Raises CliError."""
    import httpx

    from clary.edge.proxy.authority import Authority
    from clary.edge.proxy.hosts import ServedHosts
    from clary.edge.proxy.relay import Relay
    from clary.edge.proxy.server import USER, Proxy
    from clary.kit.clock import SystemClock

    open_server = _is_open(target)
    served, token = ServedHosts(), secrets.token_urlsafe(24)
    with (
        tempfile.TemporaryDirectory(prefix="clary-proxy-") as folder,
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
    ):
        listener.setblocking(False)
        authority = Authority(Path(folder), served.suffixes, SystemClock())
        bundle = Path(folder) / "ca.pem"
        bundle.write_bytes(authority.pem + trusted(environ))

        def say_refused(host: str) -> None:
            note(refused_note(host, served.suffixes))

        def make() -> Proxy:
            transport = httpx.AsyncHTTPTransport(verify=ssl.create_default_context())
            relay = Relay(target.url, open_server, served, transport)
            return Proxy(token=token, served=served, authority=authority, relay=relay, on_refused=say_refused)

        url = f"http://{USER}:{token}@127.0.0.1:{listener.getsockname()[1]}"
        past = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
        direct = direct_hosts(past, urlsplit(target.url).hostname or "", served.suffixes)
        with _in_background(make, listener):
            yield {
                **{name: url for both in ("HTTPS_PROXY", "HTTP_PROXY") for name in (both, both.lower())},
                **dict.fromkeys(("NO_PROXY", "no_proxy"), direct),
                **dict.fromkeys(BUNDLES, str(bundle)),
            }


def direct_hosts(past: str, server: str, suffixes: tuple[str, ...]) -> str:
    """NO_PROXY: loopback, the server, and what was excepted before - but nothing that would lead to AWS itself."""
    names = [*LOOPBACK, server]
    for name in (given.strip() for given in past.split(",")):
        bare = name.lower().removeprefix("*").removeprefix(".")
        if bare and not _below(bare, suffixes) and not any(_below(suffix, (bare,)) for suffix in suffixes):
            names.append(name)
    return ",".join(dict.fromkeys(name for name in names if name))


def _below(host: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name is one of `suffixes` or stands below one."""
    return f".{host}".endswith(tuple(f".{suffix}" for suffix in suffixes))


def trusted(environ: Mapping[str, str]) -> bytes:
    """Certificates that the command would trust without the proxy, in PEM: its own bundles, else the usual roots."""
    import httpx

    found = b""
    for path in dict.fromkeys(environ.get(name, "") for name in BUNDLES):
        if path and Path(path).is_file():
            found += b"\n" + Path(path).read_bytes()
    if found:
        return found
    roots = httpx.create_ssl_context(trust_env=False).get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(root) for root in roots).encode()


def _is_open(target: Target) -> bool:
    """Whether the target runs without --auth; CliError where nothing answers there."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=HEALTH_S, verify=ssl.create_default_context()) as client:
            document = json.loads(client.get(f"{target.url}/clary/health").content)
        return bool(document["auth"] == "none")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise CliError(
            Exit.NO_SERVER,
            f"--proxy needs a running server; none answers at {target.url}: {error or type(error).__name__}.",
            "Start one with `clary serve`, or use --serve.",
        ) from None


def refused_note(host: str, suffixes: tuple[str, ...]) -> str:
    """What the user is told of a refused host, once."""
    if _below(host, suffixes):
        return f"clary exec --proxy refused {host[:256]}: Clary does not serve it."
    return f"clary exec --proxy refused {host[:256]}: it is no host of AWS. Name it in NO_PROXY to let it through."


@contextmanager
def _in_background(make: Callable[[], Proxy], listener: socket.socket) -> Iterator[None]:
    """Run a proxy on a thread until the block ends."""
    import uvloop

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    loop, stop = runner.get_loop(), asyncio.Event()

    async def serve() -> None:
        running = asyncio.create_task(make().run(listener))
        await asyncio.wait({running, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()

    def work() -> None:
        try:
            with runner:
                runner.run(serve())
        except OSError as error:
            note(f"clary exec --proxy ended: {error}")

    thread = threading.Thread(target=work, name="proxy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_S)
