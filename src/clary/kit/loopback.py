"""Who may talk to an open server on this machine: loopback names only, and no page of another site.

A pickle loader behind an open port is code execution from a web page. A page can reach 127.0.0.1 by a form, by fetch
without CORS, or by a name of its own that it lets resolve to 127.0.0.1 (DNS rebinding); the browser then tells on it by
Origin, by Sec-Fetch-Site (Fetch metadata, W3C) or by Host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def host_of(authority: str) -> str:
    """The host of `host[:port]`, lower case, without brackets and without a closing dot; empty when malformed."""
    authority = authority.strip().lower()
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        return host if bracket and (not rest or (rest[0] == ":" and rest[1:].isdigit())) else ""
    host, colon, port = authority.partition(":")
    if colon and not port.isdigit():
        return ""
    return host.rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether a host name (as `host_of` gives it) can only mean this machine: RFC 6761 for localhost and below it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_allowed(authority: str, hosts: Collection[str]) -> bool:
    """Whether a Host header may be answered: loopback, one of `hosts` (lower case, no port), or a name below one (an
    S3 bucket in virtual-host style)."""
    host = host_of(authority)
    if not host:
        return False
    return is_loopback(host) or host in hosts or any(host.endswith("." + known) for known in hosts)


def refusal(host: str | None, origin: str | None, fetch_site: str | None, hosts: Collection[str]) -> str | None:
    """Why an unauthenticated server refuses a request, in one sentence with the remedy; None where it does not.

    Arguments are the headers Host, Origin and Sec-Fetch-Site, None where absent.
    """
    if host is None or not host_allowed(host, hosts):
        return (
            f"The Host header {host!r} is not this machine. Name the host in `--hosts` (or CLARY_HOSTS) if it should "
            "be answered; without --auth only loopback names are."
        )
    if fetch_site is not None and fetch_site.strip().lower() == "cross-site":
        return "A page of another site may not call this server. Start it with --auth sigv4 to serve other machines."
    if origin is not None:
        scheme, separator, authority = origin.strip().partition("://")
        if not separator or scheme.lower() not in ("http", "https") or not host_allowed(authority, hosts):
            return f"A page of {origin!r} may not call this server. Start it with --auth sigv4 to serve other machines."
    return None
