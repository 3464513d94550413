"""SoftHSM tokens of our own, and a search of a process's whole memory."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
IMPORT = """
import sys
from pkcs11 import Attribute, KeyType, ObjectClass, lib
label, value, template, module, pin = sys.stdin.read().split("\\n")
attributes = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: label,
    Attribute.VALUE: bytes.fromhex(value), Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False, Attribute.WRAP: True, Attribute.UNWRAP: True}
attributes |= {getattr(Attribute, name): getattr(KeyType, said, said == "True") for name, said in
    (part.split("=") for part in template.split())}
token = next(slot.get_token() for slot in lib(module).get_slots() if slot.get_token().label == "km")
token.open(rw=True, user_pin=pin).create_object(attributes)
"""
WORKER = """
import sys
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, lib
module, pin, wrapped = sys.argv[1], sys.stdin.readline().strip(), bytes.fromhex(sys.stdin.readline())
plain = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
token = next(slot.get_token() for slot in lib(module).get_slots() if slot.get_token().label == "km")
session = token.open(user_pin=pin)
key = session.get_key(label="known")
while True:
    key.unwrap_key(
        ObjectClass.SECRET_KEY, KeyType.AES, wrapped, mechanism=Mechanism.AES_KEY_WRAP, template=plain
    ).destroy()
"""


@dataclass(frozen=True)
class SoftHsm:
    """A directory of tokens for whoever has SOFTHSM2_CONF in its environment; token `km` has the PIN of `pin_file`."""

    folder: Path
    pin_file: Path
    pin: str

    @classmethod
    def make(cls, folder: Path, program: Callable[[str], str]) -> "SoftHsm":
        if not MODULE.exists():
            pytest.fail(f"{MODULE} is not installed: run `make peers`")
        (folder / "tokens").mkdir(parents=True)
        configuration = folder / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(configuration)
        made = cls(folder, folder / "pin", os.urandom(12).hex())
        made.write_pin(made.pin)
        subprocess.run(
            [program("softhsm2-util"), "--init-token", "--free", "--label", "km", "--so-pin", "12345678", "--pin", made.pin],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        return made

    def uri(self, label: str, token: str = "km") -> str:
        return f"pkcs11:token={token};object={label}?module-path={MODULE}&pin-source=file:{self.pin_file}"

    def write_pin(self, pin: str) -> None:
        self.pin_file.touch(0o600)
        self.pin_file.write_text(pin + "\n")

    def import_key(self, label: str, value: bytes, template: str = "") -> None:
        """Put a key with these bytes into the token, by a process of its own; `template`: ATTRIBUTE=VALUE ..."""
        subprocess.run(
            [sys.executable, "-c", IMPORT],
            input=f"{label}\n{value.hex()}\n{template}\n{MODULE}\n{self.pin}",
            text=True, check=True, timeout=30,
        )  # fmt: skip

    def worker(self, wrapped: bytes) -> subprocess.Popen[str]:
        """Start a process that loads the module itself and unwraps this by the key `known`, until it is killed."""
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(MODULE)], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(f"{self.pin}\n{wrapped.hex()}\n")
        process.stdin.flush()
        return process


def found_in_memory(pid: int, needles: dict[str, bytes]) -> set[str]:
    """Return the names of the needles that stand anywhere in the readable memory of a process."""
    found: set[str] = set()
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end in _readable(pid):
                try:
                    memory.seek(start)
                    content = memory.read(end - start)
                except (OSError, ValueError):
                    continue  # it was given back meanwhile, or is the kernel's
                found |= {name for name, needle in needles.items() if needle in content}
    except PermissionError:
        pytest.fail("the memory of a process that forbids debuggers is read as root only, as `make peers` runs")
    return found


def _readable(pid: int) -> Sequence[tuple[int, int]]:
    maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    spans = [tuple(int(place, 16) for place in span.split("-")) for span, rights, *_ in maps if rights.startswith("r")]
    return [(start, end) for start, end in spans]
