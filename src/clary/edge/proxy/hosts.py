"""Which host names are those of services that Clary serves: what botocore's endpoint rules give for them.

Every host that a client asks follows from those rules (region, FIPS, dual stack, the global hosts of older clients), so
that no list is kept here: a host is served where the rules, given the regions that stand in its name, lead to it. S3
also answers below its hosts: `bucket.s3.us-east-1.amazonaws.com`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from clary.edge.aws.spec import SERVICES

S3 = "s3"
HOSTS_REMEMBERED = 1024


@dataclass(frozen=True)
class _Service:
    """The endpoint rules of one service."""

    name: str
    provider: EndpointProvider
    switches: tuple[str, ...]
    """Yes-or-no parameters that choose between hosts of one region."""


class ServedHosts:
    """Host names of served services. Loads the rules once, some 30 ms."""

    def __init__(self) -> None:
        loader = Loader()
        partitions: dict[str, Any] = loader.load_data("partitions")
        names = (*(service.name for service in SERVICES), S3)
        self.services = names
        self._rules = [_service(loader, partitions, name) for name in names]
        self._regions = [re.compile(one["regionRegex"]) for one in partitions["partitions"]]
        self._implied = tuple(one["outputs"]["implicitGlobalRegion"] for one in partitions["partitions"])
        self.suffixes = tuple(
            sorted(
                {one["outputs"][key] for one in partitions["partitions"] for key in ("dnsSuffix", "dualStackDnsSuffix")}
            )
        )
        """What every host of AWS ends with: `amazonaws.com`, `api.aws` and those of other partitions."""
        self.service_of = functools.lru_cache(HOSTS_REMEMBERED)(self._service_of)
        """(host, lower case, without port) -> the service, in botocore's name; None where no served one has it."""

    def _service_of(self, host: str) -> str | None:
        hosts = self._near(host)
        found = hosts.get(host)
        if found is not None:
            return found
        rest = host
        while "." in rest:
            rest = rest.partition(".")[2]
            if hosts.get(rest) == S3:
                return S3
        return None

    def _near(self, host: str) -> dict[str, str]:
        """Services by host, of the regions that stand in `host` and of those that hosts without a region stand for."""
        named = [label for label in host.split(".") if any(known.fullmatch(label) for known in self._regions)]
        return {
            found: service.name
            for service, region in itertools.product(self._rules, (*named, *self._implied))
            for found in _hosts(service, region)
        }


def _service(loader: Loader, partitions: dict[str, Any], name: str) -> _Service:
    rules = loader.load_service_model(name, "endpoint-rule-set-1")
    wanted = ("UseFIPS", "UseDualStack", "UseGlobalEndpoint")
    return _Service(
        name, EndpointProvider(rules, partitions), tuple(one for one in wanted if one in rules["parameters"])
    )


def _hosts(service: _Service, region: str) -> Iterator[str]:
    for values in itertools.product((False, True), repeat=len(service.switches)):
        try:
            url = service.provider.resolve_endpoint(
                Region=region, **dict(zip(service.switches, values, strict=True))
            ).url
        except EndpointProviderError:  # such as FIPS where a partition has none
            continue
        yield urlsplit(url).hostname or ""
