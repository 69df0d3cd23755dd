"""What the command's exit status says, and the error that carries one."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What `clary` exits with. These numbers stay. `clary exec` gives the status of the command that it ran."""

    OK = 0
    BUG = 1
    """Something that should not happen in Clary; the details are on stderr with CLARY_DEBUG=1."""
    USAGE = 2
    """The command line or a setting cannot be used."""
    NO_SERVER = 3
    """No server answers at the address."""
    NOT_FOUND = 4
    """The server has no resource of that name."""
    REFUSED = 5
    """The server refuses the request: it breaks a rule, or something of that name exists."""
    DENIED = 6
    """The signature, the key or the host name is not accepted."""
    FAILED = 7
    """The endpoint or the training job came to the status Failed."""
    MODEL = 8
    """The model itself refused or failed the request."""
    UNAVAILABLE = 9
    """The server or the endpoint cannot answer now; trying again later may help."""
    TIMEOUT = 10
    """Waiting ended before what was waited for."""
    UNHEALTHY = 11
    """`clary doctor` or `clary audit verify` found a problem."""
    CANNOT_RUN = 126
    """`clary exec` found the command but may not run it."""
    NO_COMMAND = 127
    """`clary exec` did not find the command."""
    INTERRUPTED = 130
    """Ctrl-C."""


class CliError(Exception):
    """An end that the user can understand: what happened, what to do, and the exit status."""

    def __init__(self, code: Exit, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
