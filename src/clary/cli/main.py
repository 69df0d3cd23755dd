"""`clary`: the command line. Each command is a function in a module of its own; this one puts them together.

Starting must stay under 0.3 s: modules of commands import typer and little else at their top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import cast

from clary import __version__
from clary.cli.exit_codes import CliError, Exit


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status (exit_codes.Exit)."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given == ["--version"]:
        print(f"clary {__version__}")
        return Exit.OK
    try:
        return _run(given)
    except CliError as error:
        _show(error, as_json="--json" in _own(given))
        return error.code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return Exit.INTERRUPTED
    except Exception as error:
        if os.environ.get("CLARY_DEBUG"):
            raise
        _show(
            CliError(
                Exit.BUG,
                f"Something went wrong inside Clary: {type(error).__name__}: {error}",
                "Run it again with CLARY_DEBUG=1 for the details, and report them.",
            ),
            as_json="--json" in _own(given),
        )
        return Exit.BUG


def _run(given: list[str]) -> int:
    import typer
    from typer.main import get_command

    from clary.cli.commands import app

    boxed = "--json" not in _own(given)  # a program gets a wrong command line as it gets every other error
    # UsageError, wherever this typer keeps its click.
    wrong_use = cast("type[typer.BadParameter]", typer.BadParameter.mro()[1])
    try:
        status = get_command(app).main(args=given, prog_name="clary", standalone_mode=boxed)
    except wrong_use as error:
        message = error.format_message().replace("Value error, ", "")
        raise CliError(Exit.USAGE, message, "`clary --help` lists commands and their options.") from None
    except SystemExit as end:  # how typer returns, with what it has to say already said
        if isinstance(end.__context__, BrokenPipeError):
            return Exit.OK  # whoever reads our output has what it wanted, as `head` does
        return end.code if isinstance(end.code, int) else Exit.OK
    return status if isinstance(status, int) else Exit.OK


def _own(given: list[str]) -> list[str]:
    """The arguments that are Clary's, without those of a command that `exec` runs."""
    return given[: given.index("--")] if "--" in given else given


def _show(error: CliError, *, as_json: bool) -> None:
    if as_json:
        import json

        document = {"error": {"message": error.message, "remedy": error.remedy, "exit_code": int(error.code)}}
        print(json.dumps(document, ensure_ascii=False), file=sys.stderr)
        return
    red, bold, plain = ("\033[31m", "\033[1m", "\033[0m") if sys.stderr.isatty() else ("", "", "")
    print(f"{red}{bold}error:{plain} {error.message}", file=sys.stderr)
    if error.remedy:
        print(error.remedy, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
