"""The commands of docs/how-to do what the pages say: each page runs as one shell, each `text` block is what was printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from coordinators import ENVIRONMENT
from operators import free_port, operators

pytestmark = [pytest.mark.peers, pytest.mark.timeout(240)]

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "---- end of a block"


def steps(page: str) -> list[tuple[str, str]]:
    """Return the commands of a page, each with what it is said to print."""
    blocks = BLOCK.findall((PAGES / page).read_text())
    found: list[tuple[str, str]] = []
    for kind, text in blocks:
        if kind == "sh":
            found.append((text, ""))
        else:
            found[-1] = (found[-1][0], text)
    assert found, f"{page} shows no command"
    return found


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    with operators(folder, 2) as (north, south):
        port = free_port()
        (south.folder / "reading").write_text("21.5 C")
        (asking,) = north.add_devices(1)
        (serving,) = south.add_devices(1, **{"dtls": f"127.0.0.1:{port}", "serve.temperature": "reading"})
        asking.enrolled()
        serving.enrolled()
        for suffix in (".toml", ".state"):  # the pages call the asking device's file meter.toml
            asking.config.with_name(f"meter{suffix}").symlink_to(asking.config.with_suffix(suffix))
        yield (
            {
                **ENVIRONMENT,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PEER": serving.id,
                "AT": serving.process.address,
                "DTLS": f"coaps://127.0.0.1:{port}",
            },
            asking.config.parent,
        )


@pytest.mark.parametrize("page", ["oscore.md", "dtls-psk.md"])
def test_the_page_says_what_happens(street, program, page):
    for name in ("aiocoap-client", "coap-client-openssl"):
        program(name)
    environment, folder = street
    script = "".join(f"{commands}\necho; echo '{END}'\n" for commands, _ in steps(page))
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = [block.strip() for block in done.stdout.split(END)][:-1]
    assert printed == [expected.strip() for _, expected in steps(page)]
