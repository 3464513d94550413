"""`keymote demo`: the main job on real loopback sockets, every role a process of its own."""

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keymote.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from keymote.stories.telling import Step


def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the roles' files and logs there; must not exist.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch two devices of two operators get one key, talk with software that we did not write, and lose it; a street of
    15 meters agree on group keys, with the coordinator and without it; and patients walk between brokers that read nothing.

    \b
    Example:
      keymote demo
      keymote demo -o json --keep /tmp/world
    """
    from keymote.errors import CallerFault
    from keymote.stories.demo import play

    folder = Path(tempfile.mkdtemp(prefix="keymote-demo-")) if keep is None else keep.absolute()
    if keep is not None:
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise CallerFault(
                f"cannot create {keep}: {error.strerror}", do="name a directory that is not there"
            ) from error
    try:
        tell = _tell if output is Output.TABLE else _silent
        played = asyncio.run(play(folder, tell))
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    ok = all(scenario["ok"] for scenario in played)
    if output is Output.JSON:
        print(json.dumps({"ok": ok, "scenarios": played}))
    else:
        _conclude(played, ok)
    sys.exit(0 if ok else 1)


def _tell(step: "Step") -> None:
    traffic = f"{step.messages:4d} messages {step.bytes:6d} B" if step.messages else " " * 24
    print(f"{step.ms:8.0f} ms  {traffic}  {step.name:33}{step.says}", flush=True)


def _silent(_step: "Step") -> None:
    return None


def _conclude(played: list[dict[str, Any]], ok: bool) -> None:
    for scenario in played:
        print()
        for role in scenario["facts"]["roles"]:
            print(f"  {role['role']:20} pid {role['pid']:<8} {role['address']}")
        print()
        _CONCLUSIONS[scenario["name"]](scenario["facts"])
    print("\nall as it should be" if ok else "\nSOMETHING IS WRONG: see the steps above")


def _pair(facts: dict[str, Any]) -> None:
    print(f"  fingerprint at the initiator   {facts['key_id_initiator']}")
    print(f"  fingerprint at the responder   {facts['key_id_responder']}")
    print(f"  refused after the revocation   {'yes' if facts['refused_after_revocation'] else 'NO'}")


def _group(facts: dict[str, Any]) -> None:
    for line in facts["exchange"]["book"]:
        print(f"  {line}")
    for session in facts["exchange"]["sessions"]:
        print(
            f"  exchange of {session['n']} homes          {session['commands']} commands, {session['opened']} times opened"
        )
    print(f"  fingerprints in the microgrid  {', '.join(sorted(set(facts['key_ids'])))} in epoch {facts['epoch']}")
    print(f"  refused after the eviction     {'yes' if facts['evicted_refused'] else 'NO'}")
    print(f"  revoked until safe             {facts['time_to_safe_ms']} ms")


def _topic(facts: dict[str, Any]) -> None:
    print(f"  moves between brokers          {facts['moves']}, {facts['handed_over']} of them handed over")
    print(f"  readings logged                {facts['readings']}")
    print(f"  lost, opened twice             {facts['lost']}, {facts['duplicates']}")
    where = "memory, files, logs and traffic" if facts["searched"]["memory"] is not None else "files, logs and traffic"
    print(f"  a broker saw a reading         {'YES' if facts['broker_saw_plaintext'] else 'no'}: {where} searched")


_CONCLUSIONS: Final = {"pair": _pair, "group": _group, "topic": _topic}
