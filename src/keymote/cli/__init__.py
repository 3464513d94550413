"""The command `keymote`: one subcommand a file, imported only when the line names it; errors become exit codes here.

A new command is one line in `COMMANDS`: its name, where it lives (`module:attribute`, a Typer group or a plain
function) and what `keymote --help` says of it.
"""

import os
import sys
from importlib import import_module
from typing import NamedTuple

import typer

from keymote.errors import KeymoteError

__all__ = ["main"]


class Entry(NamedTuple):
    """Where a subcommand lives and its one line of help."""

    target: str
    help: str


COMMANDS: dict[str, Entry] = {
    "demo": Entry("keymote.cli.demo:demo", "Watch two devices get one key and lose it."),
    "up": Entry("keymote.cli.up:up", "Run coordinators and managers in one process."),
    "authority": Entry("keymote.cli.authority:app", "Keep the offline root and certify coordinators."),
    "coordinator": Entry("keymote.cli.coordinator:app", "Run the registry, the revocation list and the REST API."),
    "audit": Entry("keymote.cli.audit:app", "Show the audit log and re-compute its chain."),
    "manager": Entry("keymote.cli.manager:app", "Enrol devices and add a share to each of their keys."),
    "agent": Entry("keymote.cli.agent:app", "Let clients into an MQTT broker by ticket, and hand them over to others."),
    "device": Entry("keymote.cli.device:app", "Labels, devices and their revocation; run a device."),
    "pair": Entry("keymote.cli.pair:app", "Agree on keys with other devices, and hand them to other programs."),
    "group": Entry("keymote.cli.group:app", "Keys that many devices share: members, epochs, evictions, conflicts."),
    "topic": Entry("keymote.cli.topic:app", "Keys of MQTT topics: filters, grants, rotations, who holds which epoch."),
    "lab": Entry("keymote.cli.lab:app", "Attack the published schemes and Triad-1; measure the papers' claims again."),
    "bench": Entry("keymote.cli.bench:app", "Measure beside the bare primitives, DTLS and EDHOC."),
    "storage": Entry("keymote.cli.storage:app", "Change the key that wraps the keys of a role's stores."),
    "schema": Entry("keymote.cli.schema:schema", "Print the messages in CDDL."),
    "doctor": Entry("keymote.cli.doctor:doctor", "Look for what usually is wrong, and say what to do about it."),
    "selftest": Entry("keymote.cli.selftest:selftest", "Recompute known answers and vector files."),
}


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong use, 3 unreachable, 4 refused by policy."""
    try:
        _command_line(_words())()
    except KeymoteError as fault:
        print(f"keymote: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)


def _words() -> set[str]:
    """Return the words of the line, or of the line that a shell wants completed (bash; zsh, fish and PowerShell)."""
    completing = (os.environ.get(name, "") for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS"))
    return {*sys.argv[1:], *" ".join(completing).split()}


def _command_line(words: set[str]) -> typer.Typer:
    """Return the command tree in which only the commands among `words` are loaded, the others are lines of help."""
    from keymote.cli.settings import root

    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,  # rich help costs 90 ms of imports, and programs read help too
        pretty_exceptions_enable=False,  # its tracebacks print local variables
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name, entry in COMMANDS.items():
        if name not in words:
            app.command(name, help=entry.help)(_not_loaded)
            continue
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=entry.help, no_args_is_help=True)
        else:
            app.command(name)(command)
    return app


def _not_loaded() -> None:
    raise AssertionError("a command that the line names is always loaded")
