"""`keymote schema`: the messages as other implementers need them."""

from typing import Annotated

import typer


def schema(
    *,
    cddl: Annotated[bool, typer.Option("--cddl", help="Print CDDL (RFC 8610), the one form there is.")] = True,
    suite: Annotated[
        list[int] | None, typer.Option(help="Lengths of this suite only; may be given many times.", show_default="all")
    ] = None,
) -> None:
    """Print every message of protocols A and B in CDDL, from the declarations that encode and decode them."""
    from keymote.crypto.suites import SUITES
    from keymote.errors import CallerFault
    from keymote.wire.schema import cddl as rules

    if not cddl:
        raise CallerFault("there is no other form than CDDL", do="leave out --no-cddl")
    unknown = [number for number in suite or () if number not in SUITES]
    if unknown:
        raise CallerFault(f"suite {unknown[0]} is unknown", do=f"choose among {', '.join(map(str, SUITES))}")
    typer.echo(rules(suite or list(SUITES)), nl=False)
