"""No secret in logs, errors, command lines, environments or what commands print; no role leaves a core dump.

Real processes at log level debug; every command's words and output are kept, every process below this one is looked at
while it runs. Then all secrets that the world's files hold are searched for in all of it.
"""

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import coordinators
import operators as cast
import pytest
from operators import Operator, operators, until

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.label import new_code, parse_code
from keymote.errors import CallerFault
from keymote.wire.admin import from_base64url

pytestmark = pytest.mark.timeout(240)
ROLE = rb"keymote\.cli\0(coordinator|manager|device)\0run\0"
SHORTEST = 8
"""Characters of the shortest text that is searched for: shorter ones would be found by chance."""


NO_CAPABILITIES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""Makes root a user like any other: with its capabilities it may read every process."""
WRAPPER = b"".join(word.encode() + b"\0" for word in NO_CAPABILITIES)
"""What stands before a role's command line until it is its own."""


class Neighbour:
    """A process of the same user that tries to read the memory map of others, as a debugger would."""

    TRY = """
import sys
for pid in sys.stdin:
    try:
        with open(f"/proc/{pid.strip()}/maps", "rb") as maps:
            print("open" if maps.read(1) else "", flush=True)
    except PermissionError:
        print("shut", flush=True)
    except OSError:
        print("", flush=True)
"""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [*NO_CAPABILITIES, sys.executable, "-c", self.TRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tries(self, pid: int) -> str:
        """Return "open" where `pid` lets itself be read, "shut" where it does not, "" when it is gone."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{pid}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate(timeout=10)


@dataclass
class Sight:
    """Everything that somebody else on the machine, or behind a log collector, gets to see."""

    words: list[bytes] = field(default_factory=list)
    command_lines: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)
    core_limits: dict[tuple[str, int], str] = field(default_factory=dict)
    """(role, pid) -> soft and hard limit of core files when it was looked at last."""
    doors: dict[tuple[str, int], str] = field(default_factory=dict)
    """(role, pid) -> whether a neighbour of the same user could read it when it tried last."""
    neighbour: Neighbour = field(default_factory=Neighbour)
    _over: threading.Event = field(default_factory=threading.Event)

    def wrapped(
        self, keymote: Callable[..., subprocess.CompletedProcess[str]]
    ) -> Callable[..., subprocess.CompletedProcess[str]]:
        """Return `keymote` with its words and outputs noted."""

        def noted(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
            ran = keymote(*args, check=check)
            self.words.append("\n".join((*args, ran.stdout, ran.stderr)).encode())
            return ran

        return noted

    def look(self) -> None:
        """Look at every process below this one, as `ps` and a curious neighbour do."""
        family = {os.getpid()}
        for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) not in family:
                    continue
                family.add(int(entry.name))
                line = (entry / "cmdline").read_bytes().removeprefix(WRAPPER)
                self.command_lines.add(line)
                limits = (entry / "limits").read_text()
                with suppress(PermissionError):  # a hardened one, to all but root
                    self.environments.add((entry / "environ").read_bytes())
            except OSError:
                continue  # it has ended
            role = re.search(ROLE, line)
            if role is not None:
                core = re.search(r"Max core file size +(\S+) +(\S+)", limits)
                assert core is not None
                process = role[1].decode(), int(entry.name)
                self.core_limits[process] = f"{core[1]} {core[2]}"
                self.doors[process] = self.neighbour.tries(process[1]) or self.doors.get(process, "")

    def watch(self) -> None:
        while not self._over.wait(0.2):
            self.look()

    def everything(self, folder: Path) -> bytes:
        logs = [path.read_bytes() for path in folder.rglob("*") if path.name == "log" or path.suffix == ".log"]
        assert len(logs) == 4
        assert all(b'"level": ' in log for log in logs)
        roles = [line for line in self.command_lines if re.search(ROLE, line)]
        assert len(roles) == 4
        assert all(b"\0--log-level\0debug\0" in line for line in roles)
        return b"\n".join((*logs, *self.words, *self.command_lines, *self.environments))


@pytest.fixture
def sight(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sight]:
    seen = Sight()
    noted = seen.wrapped(coordinators.keymote)
    monkeypatch.setattr(coordinators, "keymote", noted)
    monkeypatch.setattr(cast, "keymote", noted)
    monkeypatch.setattr(coordinators, "LAUNCH", [*NO_CAPABILITIES, *coordinators.LAUNCH])
    watching = threading.Thread(target=seen.watch)
    watching.start()
    yield seen
    seen._over.set()  # noqa: SLF001  its own
    watching.join()
    seen.neighbour.close()


def story(operator: Operator, folder: Path) -> dict[str, bytes]:
    """Use every command of the demo in both forms of output, rightly and wrongly; return the secrets by name."""
    a, b = operator.add_devices(2)
    for device in (a, b):
        device.enrolled()
    office = ("--coordinator", str(operator.coordinator.folder), "--url", operator.coordinator.url)
    secrets = {}
    for form, target in (("json", "libcoap"), ("table", "aiocoap"), ("table", "wireshark")):
        opened = a.pair(b)
        until(lambda psid=opened["psid"]: psid in {row["psid"] for row in b.sessions()})
        keys = folder / f"keys-{target}"
        config = ("--config", str(a.config), "-o", form)
        there = ("--to", target, "--dir", str(keys), "--peer", b.process.address, *config)
        cast.keymote("pair", "list", *config)
        cast.keymote("pair", "export", opened["psid"], *there)
        for path in (path for path in keys.rglob("*") if path.is_file()):
            text = path.read_text()
            if path.name == "psk.key":
                secrets[f"{target} pre-shared key"] = text.encode()
            for number, found in enumerate(re.findall(r'dtls\.psk: (\w+)|"secret_hex": "(\w+)"|,"(\w{32})"', text)):
                secrets[f"{target} key {number}"] = bytes.fromhex("".join(found))
    assert (
        cast.keymote("pair", "export", opened["psid"], *there, check=False).returncode != 0
    )  # files are there already
    cast.keymote("device", "list", *office)
    cast.keymote("device", "show", a.id, *office, "-o", "json")
    cast.keymote("device", "status", "--config", str(a.config), "-o", "json")
    cast.keymote("manager", "status", "--data", str(operator.folder / "nm"))
    cast.keymote("coordinator", "manager", "list", "--data", str(operator.coordinator.folder), *office[2:])
    labels = (operator.folder / "labels-0.csv").read_text().splitlines()
    bad = folder / "bad.csv"
    bad.write_text(
        "\n".join((labels[0], labels[1].replace(a.id, "not hex"), labels[2] + ",more,columns", labels[2][:-4]))
    )
    refused = cast.keymote(
        "device", "import", str(bad), "--data", str(operator.folder / "nm"), "-o", "json", check=False
    )
    assert refused.returncode == 1
    a.config.with_suffix(".code").chmod(0o644)
    cast.keymote("device", "revoke", b.id, "--reason", "1", *office)
    until(lambda: a.ask("open", b.id, check=False).returncode == 4)
    return secrets


def held(operator: Operator) -> dict[str, bytes]:
    """Return the secrets in the world's files: codes, bearer token, key-encryption keys, private keys."""
    secrets: dict[str, bytes] = {"token": operator.coordinator.token.encode()}
    for row in (operator.folder / "labels-0.csv").read_text().splitlines()[1:]:
        code = row.split(",")[1]
        secrets[f"code {code[:2]}"] = code.encode()
        secrets[f"code {code[:2]} as typed"] = code.replace("-", "").encode()
        secrets[f"code {code[:2]} as bytes"] = parse_code(code).otc.expose()
    label = json.loads((operator.folder / "nm.label").read_text())
    secrets["manager's code"] = label["code"].encode()
    secrets["manager's code as bytes"] = from_base64url(label["code"])
    for path in operator.folder.rglob("*"):
        if not path.is_file():
            continue
        if path.name in {"key", "kek"}:
            secrets[f"key-encryption key {path}"] = path.read_bytes()
        elif b"PRIVATE KEY" in (content := path.read_bytes()):
            secrets |= {f"{path} line {at}": line for at, line in enumerate(content.splitlines()) if len(line) == 64}
    return secrets


def forms(secret: bytes) -> Iterator[bytes]:
    """Yield a secret as it may be printed."""
    yield from (secret, secret.hex().encode(), repr(secret)[2:-1].encode())
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret), base64.b32encode(secret)):
        yield encoded.rstrip(b"=")


@pytest.mark.long
def test_no_secret_is_in_sight_and_no_role_dumps_core(sight: Sight, tmp_path: Path) -> None:
    with operators(tmp_path, 1) as (operator,):
        secrets = story(operator, tmp_path)
        secrets |= held(operator)
    assert sum("key-encryption" in name for name in secrets) >= 4  # coordinator's, manager's, two devices'
    assert sum("line" in name for name in secrets) >= 2
    assert {"libcoap pre-shared key", "aiocoap key 0", "wireshark key 0"} <= set(secrets)
    assert all(len(secret) >= SHORTEST for secret in secrets.values())
    seen = sight.everything(tmp_path).lower()
    assert operator.devices[0].id.encode() in seen, "the search finds what is there"
    leaked = [name for name, secret in secrets.items() if any(form.lower() in seen for form in forms(secret))]
    assert leaked == []
    assert {role for role, _ in sight.core_limits} == {"coordinator", "manager", "device"}
    assert set(sight.core_limits.values()) == {"0 0"}
    assert set(sight.doors.values()) == {"shut"}


def test_the_neighbour_reads_a_process_that_is_not_hardened() -> None:
    """Else the doors of the roles say nothing."""
    neighbour = Neighbour()
    script = "import sys; print(); sys.stdin.read()"
    careless = subprocess.Popen(
        [*NO_CAPABILITIES, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert careless.stdout is not None
    careless.stdout.readline()
    assert neighbour.tries(careless.pid) == "open"
    careless.communicate(timeout=10)
    assert neighbour.tries(careless.pid) == ""
    neighbour.close()


def test_a_code_that_was_mistyped_is_not_repeated_by_its_refusal() -> None:
    printed = new_code(SeededEntropy(b"label")).printed()
    for text in (printed[:-1] + "?", printed[:-5], printed[:-2] + printed[-1] + printed[-2]):
        with pytest.raises(CallerFault) as refused:
            parse_code(text)
        said = f"{refused.value}{refused.value!r}{refused.value.__cause__!r}"
        assert not [part for part in text.split("-")[:-1] if part in said]
