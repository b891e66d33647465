"""Finds the command that was asked for, and turns its errors into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from shipway import __version__
from shipway.domain.errors import Code, ShipwayError

# name: (module, attribute, help); the help stands here so that `--help` imports no command
COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("up", "up", "The embedded server, agent and page in the foreground."),
    "down": ("up", "down", "End the embedded server and agent; programs go on."),
    "status": ("up", "status", "Show how the embedded server stands."),
    "server": ("server", "server", "Run a server for several machines."),
    "agent": ("agent", "agent", "Run an agent: lease items and see them through."),
    "launch": ("launch", "launch", "Put a program on a queue."),
    "queue": ("queue", "queue", "Make, show and change queues."),
    "item": ("item", "item", "List, show, stop and retry queue items."),
    "job": ("job", "job", "Make and show jobs: reusable, versioned recipes."),
    "run": ("run", "run", "List, show and compare runs."),
    "sweep": ("sweep", "sweep", "List and show sweeps, and let them go on, pause and end."),
    "agents": ("agents", "agents", "List, drain and stop agents."),
    "user": ("user", "user", "Add, list and disable people and service accounts."),
    "key": ("key", "key", "Make, list and revoke keys."),
    "backup": ("data", "backup", "Write database, blobs and key into one file."),
    "restore": ("data", "restore", "Put a backup in place."),
    "gc": ("data", "gc", "Remove what nobody needs any more."),
    "login": ("login", "login", "Store a server's address and a key."),
    "doctor": ("doctor", "doctor", "Check this machine, and say how to mend what is wrong."),
}

NOT_ON_WINDOWS = frozenset({"up", "down", "status", "server", "agent", "backup", "restore", "gc"})
WRONG_USAGE = frozenset({Code.INVALID, Code.NOT_AVAILABLE})  # codes that exit 2


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the one command that was asked for."""
        if cmd_name not in COMMANDS:
            return None
        if sys.platform == "win32" and cmd_name in NOT_ON_WINDOWS:
            raise click.ClickException(f"shipway {cmd_name} does not run on Windows: use WSL 2")
        module, attribute, _ = COMMANDS[cmd_name]
        found = getattr(import_module(f"shipway.cli.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="shipway %(version)s")
def shipway() -> None:
    """The open launch queue for machine-learning experiments.

    `shipway launch -u .` puts the program of this directory on a queue; `shipway up` runs the
    embedded server and agent of this machine in the foreground.
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one sentence on stderr."""
    try:
        result = shipway.main(
            args=None if argv is None else list(argv), prog_name="shipway", standalone_mode=False
        )
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        # the reader of our output has gone; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.exceptions.NoArgsIsHelpError as bare:
        print(bare.format_message(), file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _say("stopped by Ctrl-C", 130)
    except (click.ClickException, ShipwayError, OSError) as error:
        return _say(*_explain(error))
    return result if isinstance(result, int) else 0


def _explain(error: click.ClickException | ShipwayError | OSError) -> tuple[str, int]:
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "shipway"
        return f"{error.format_message().rstrip('.')} (see {path} --help)", 2
    if isinstance(error, click.ClickException):
        return error.format_message(), 1
    if isinstance(error, ShipwayError):
        return error.message, 2 if error.code in WRONG_USAGE else 1
    return str(error) or type(error).__name__, 1


def _say(sentence: str, code: int) -> int:
    print(f"shipway: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
