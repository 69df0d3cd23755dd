"""Actions: commands and webhooks of the operator that alarms, topics and rules call by an ARN. Pure.

An action NAME answers to two ARNs, in every region of its account: `arn:aws:lambda:REGION:ACCOUNT:function:NAME` and
`arn:aws:sns:REGION:ACCOUNT:NAME`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from clary.domain.errors import Invalid
from clary.domain.principal import Scope

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""As a Lambda function's name (API reference)."""
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")
FUNCTION_ARN = re.compile(
    r"arn:aws[a-z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):function:(?P<name>[A-Za-z0-9_-]{1,64})"
)
TOPIC_ARN = re.compile(
    r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>[A-Za-z0-9_-]{1,256})"
    r"(?P<subscription>:[a-z0-9-]{1,64})?"
)
BUS_ARN = re.compile(r"arn:aws[a-z-]*:events:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):event-bus/default")
TIMEOUT_S_MAX = 900.0
"""As a Lambda function's; the credentials of a run last an hour."""
RETRIES_MAX = 10
WORDS_MAX = 64
WORD_CHARS_MAX = 4096


@dataclass(frozen=True)
class ActionSpec:
    """What is called: a command, or a URL."""

    command: tuple[str, ...] = ()
    """Words; the first is a program on the server's PATH, or an absolute path. Empty: a webhook."""
    url: str = ""
    """http or https; gets the event by POST. Empty: a command."""
    timeout_s: float = 60.0
    """Seconds for one run; then the command is killed, the request given up."""
    retries: int = 2
    """Tries after the first that failed, as Lambda's of an event."""
    role: str = ""
    """ARN of the role whose credentials a command gets; empty: none."""


def function_arn(scope: Scope, name: str) -> str:
    """The ARN of an action as a function."""
    return f"arn:aws:lambda:{scope.region}:{scope.account}:function:{name}"


def topic_arn(scope: Scope, name: str) -> str:
    """The ARN of a topic, or of an action as a topic."""
    return f"arn:aws:sns:{scope.region}:{scope.account}:{name}"


def function_name(arn: str, account: str) -> str | None:
    """The action that a function's ARN names; None for another account's, or no such ARN."""
    found = FUNCTION_ARN.fullmatch(arn)
    return found["name"] if found is not None and found["account"] == account else None


def check_action(name: str, spec: ActionSpec, account: str) -> None:
    """Raise Invalid for an action that cannot be."""
    if not NAME.fullmatch(name):
        raise Invalid("The name of an action has 1 to 64 letters, digits, dashes and underscores.")
    if bool(spec.command) == bool(spec.url):
        raise Invalid("An action is either a command or a webhook: give exactly one of the two.")
    if spec.command:
        _check_command(spec.command)
    else:
        check_url(spec.url)
    if not 1 <= spec.timeout_s <= TIMEOUT_S_MAX:
        raise Invalid(f"The timeout of an action is 1 to {TIMEOUT_S_MAX:g} seconds; {spec.timeout_s:g} is given.")
    if not 0 <= spec.retries <= RETRIES_MAX:
        raise Invalid(f"An action is tried again 0 to {RETRIES_MAX} times; {spec.retries} is given.")
    if spec.role and not spec.command:
        raise Invalid("A webhook gets no credentials: leave the role out.")
    if spec.role and (not ROLE.fullmatch(spec.role) or spec.role.split(":")[4] != account):
        raise Invalid(f"The role {spec.role!r} is not the ARN of a role of account {account}.")


def check_url(url: str) -> None:
    """Raise Invalid for what no POST can go to."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right or len(url) > 2048 or any(ord(character) <= 32 for character in url):
        raise Invalid("The URL must be http://HOST/... or https://HOST/..., of at most 2048 characters.")


def _check_command(command: tuple[str, ...]) -> None:
    if len(command) > WORDS_MAX or any(len(word) > WORD_CHARS_MAX or "\0" in word for word in command):
        raise Invalid(f"A command has at most {WORDS_MAX} words of at most {WORD_CHARS_MAX} characters.")
    program = command[0]
    if not program or ("/" in program and not program.startswith("/")):
        raise Invalid(f"The program {program!r} must be an absolute path, or a name that the server finds on its PATH.")
