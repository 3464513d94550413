"""The key-encryption key in a real PKCS#11 module (SoftHSM): nowhere in who serves, named when it is missing, replaced."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))
sys.path.insert(0, str(Path(__file__).parent))

import coordinators
from coordinators import keymote
from keyed_roles import ENTROPY, ROLES, Role
from operators import Operator, operators, until
from rotation_kills import contents, survives_every_kill, wrappings
from softhsm import MODULE, SoftHsm, found_in_memory
from test_how_to import END, steps

from keymote.cli import doctor_checks
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.rotation import rotate
from keymote.storage.seal_pkcs11.faults import KeyMissing, KeyUnfit, PinRefused, TokenAway
from keymote.storage.seal_pkcs11.key import TokenKey

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

KNOWN = sha256(b"a key that the test knows").digest()


@pytest.fixture
def softhsm(tmp_path: Path, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    monkeypatch.setenv("SOFTHSM2_CONF", "")  # what `make` sets is put back
    made = SoftHsm.make(tmp_path / "hsm", program)
    monkeypatch.setitem(coordinators.ENVIRONMENT, "SOFTHSM2_CONF", str(made.folder / "softhsm2.conf"))
    return made


# ------------------------------------------------------------------ one key


def test_KT01_a_key_made_in_the_token_wraps_and_does_not_come_out(softhsm: SoftHsm) -> None:
    made = TokenKey(softhsm.uri("kek"), create=True)
    again = TokenKey(softhsm.uri("kek"), create=True)
    assert (made.fingerprint, made.imported) == (again.fingerprint, False)
    wrapped = made.wrap(Secret(b"d" * 32))
    assert len(wrapped) == 40
    assert again.unwrap(wrapped) == Secret(b"d" * 32)
    assert b"d" * 32 not in contents(softhsm.folder)  # the data key was in the session only
    with pytest.raises(KeyUnfit, match="does not open this store"):
        made.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    read = (
        "import sys; from pkcs11 import lib, Attribute as A\n"
        f"t = next(s.get_token() for s in lib('{MODULE}').get_slots() if s.get_token().label == 'km')\n"
        "k = t.open(user_pin=sys.stdin.read()).get_key(label='kek')\n"
        "print(k[A.SENSITIVE], k[A.ALWAYS_SENSITIVE], k[A.EXTRACTABLE], k[A.NEVER_EXTRACTABLE], k[A.DECRYPT])\n"
        "k[A.VALUE]"
    )
    stranger = subprocess.run(
        [sys.executable, "-c", read], input=softhsm.pin, capture_output=True, text=True, timeout=30, check=False
    )
    assert stranger.stdout == "True True False True False\n"
    assert "AttributeSensitive" in stranger.stderr


def test_KT01_wrapping_is_that_of_RFC_3394(softhsm: SoftHsm) -> None:
    softhsm.import_key("known", KNOWN)
    kek = TokenKey(softhsm.uri("known"))
    assert kek.imported
    assert aes_key_unwrap(KNOWN, kek.wrap(Secret(b"d" * 32))) == b"d" * 32


@pytest.mark.parametrize(
    ("value", "template", "says"),
    [
        (KNOWN, "EXTRACTABLE=True", "can be taken out"),
        (KNOWN, "SENSITIVE=False", "can be read"),
        (KNOWN, "PRIVATE=False", "without the PIN"),
        (KNOWN, "UNWRAP=False", "may not unwrap"),
        (KNOWN, "WRAP=False SENSITIVE=False", r"can be read .*, may not wrap"),
        (KNOWN[:16], "", "has not 32 bytes"),
        (KNOWN, "KEY_TYPE=GENERIC_SECRET", "is not AES"),
    ],
)
def test_KT01_KT05_an_unfit_key_is_refused(softhsm: SoftHsm, value: bytes, template: str, says: str) -> None:
    softhsm.import_key("unfit", value, template)
    for create in (False, True):
        with pytest.raises(KeyUnfit, match=says):
            TokenKey(softhsm.uri("unfit"), create=create)


def test_KT04_KT05_every_trouble_is_named_with_what_to_do(softhsm: SoftHsm, tmp_path: Path) -> None:
    TokenKey(softhsm.uri("kek"), create=True)
    with pytest.raises(KeyMissing, match="no key of pkcs11:token=km;object=absent; mend object"):
        TokenKey(softhsm.uri("absent"))
    with pytest.raises(TokenAway, match=r"no token of pkcs11:token=other.*: there is 'km'"):
        TokenKey(softhsm.uri("kek", token="other"))
    for _ in range(2):
        softhsm.import_key("twice", KNOWN)
    with pytest.raises(KeyUnfit, match="fits 2 keys; add id="):
        TokenKey(softhsm.uri("twice"))
    softhsm.write_pin("wrong" + softhsm.pin)
    with pytest.raises(PinRefused, match=r"refuses the PIN of .*/pin; write the right one") as caught:
        TokenKey(softhsm.uri("kek"))
    assert softhsm.pin not in str(caught.value)
    for content, says in (("", "holds no PIN"), ("1234\n5678", "holds no PIN")):
        softhsm.write_pin(content)
        with pytest.raises(PinRefused, match=says):
            TokenKey(softhsm.uri("kek"))
    softhsm.write_pin(softhsm.pin)
    softhsm.pin_file.chmod(0o640)
    with pytest.raises(CallerFault, match="chmod 600"):
        TokenKey(softhsm.uri("kek"))
    softhsm.pin_file.unlink()
    with pytest.raises(CallerFault, match="cannot read PIN file"):
        TokenKey(softhsm.uri("kek"))
    with pytest.raises(PinRefused, match="wants a PIN; add &pin-source"):
        TokenKey(softhsm.uri("kek").partition("&")[0])


def test_KT03_the_environment_may_name_the_file_of_the_pin(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYMOTE_PIN_FILE", str(softhsm.pin_file))
    assert TokenKey(softhsm.uri("kek").partition("&")[0], create=True).fingerprint


# ------------------------------------------------------------------ every role, every way of replacing it


@pytest.mark.parametrize("name", ROLES)
def test_KT08_from_token_to_token_to_file(softhsm: SoftHsm, tmp_path: Path, name: str) -> None:
    role, home = ROLES[name], tmp_path / "role"
    home.mkdir()
    role.make(home, softhsm.uri("one"))
    before = role.use(home)
    for target in (softhsm.uri("two"), f"file:{home}/beside"):
        old = wrappings(role, home)
        done = rotate(role.place(home), target, ENTROPY)
        assert role.use(home) == before
        assert all(wrapped[:8] == done.fingerprint for wrapped in wrappings(role, home))
        left = contents(home)
        assert not any(gone in left for gone in old)
    assert (home / "beside").exists()


def test_KT08_KT10_a_kill_in_a_rotation_to_another_token_key(softhsm: SoftHsm, tmp_path: Path) -> None:
    role, home = ROLES["manager"], tmp_path / "role"
    home.mkdir()
    role.make(home, softhsm.uri("one"))
    assert survives_every_kill(role, home, 67, softhsm.uri("two")) >= 3


# ------------------------------------------------------------------ a manager at work


def test_the_page_about_tokens_says_what_happens(program: Callable[[str], str], tmp_path: Path) -> None:
    program("softhsm2-util")
    with operators(tmp_path, 1) as (operator,):
        operator.manager.stop()
        folder = operator.folder
        (folder / "street-7").symlink_to(folder / "nm")
        environment = {**coordinators.ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        pages = steps("key-in-a-token.md")
        script = "".join(f"{commands}\necho; echo '{END}'\n" for commands, _ in pages)
        done = subprocess.run(
            ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert [block.strip() for block in done.stdout.split(END)][:-1] == [said.strip() for _, said in pages]


@pytest.fixture
def operator(softhsm: SoftHsm, tmp_path: Path) -> Iterator[Operator]:
    softhsm.import_key("known", KNOWN)
    folder = tmp_path / "world"
    folder.mkdir()
    with operators(folder, 1, key_uri=softhsm.uri("known")) as (made,):
        yield made


def data_keys(role: Role, home: Path) -> dict[str, bytes]:
    return {f"data key {n}": aes_key_unwrap(KNOWN, wrapped[8:]) for n, wrapped in enumerate(wrappings(role, home))}


def test_KT02_the_key_and_the_pin_are_nowhere_in_the_process_that_serves(operator: Operator, softhsm: SoftHsm) -> None:
    (device,) = operator.add_devices(1)
    device.enrolled()
    secret = {
        "key": KNOWN, "half of the key": KNOWN[:16], "other half": KNOWN[16:], "key in hex": KNOWN.hex().encode(),
        "PIN": softhsm.pin.encode(),
    }  # fmt: skip
    operator.manager.stop()
    kept = data_keys(ROLES["manager"], operator.folder / "nm")
    operator.manager.start()
    until(lambda: device.ask("list").returncode == 0)
    process = operator.manager.process
    assert process is not None
    assert "softhsm" not in Path(f"/proc/{process.pid}/maps").read_text()
    assert found_in_memory(process.pid, {**secret, **kept}) == kept.keys(), "only what seals rows is there"
    with softhsm.worker(aes_key_wrap(KNOWN, b"d" * 32)) as worker:  # the same search where the module is loaded
        try:
            until(lambda: {"key", "PIN"} <= found_in_memory(worker.pid, secret), 60.0)
        finally:
            worker.kill()


def test_KT05_KT06_a_manager_enrols_goes_on_without_its_token_and_changes_its_key(
    operator: Operator, softhsm: SoftHsm, tmp_path: Path
) -> None:
    home, manager = operator.folder / "nm", operator.manager
    doctor = ("doctor", "--data", str(home), "-o", "json")
    (first,) = operator.add_devices(1)
    first.enrolled()
    tokens, away = softhsm.folder / "tokens", softhsm.folder / "away"
    tokens.rename(away)
    tokens.mkdir()
    (second,) = operator.add_devices(1)
    second.enrolled()  # the token is gone, the manager goes on
    found = {row["check"]: row for row in json.loads(keymote(*doctor, check=False).stdout)["findings"]}
    assert (found["token"]["ok"], "plug it in" in found["token"]["do"]) == (False, True)
    manager.stop()
    refused = keymote("manager", "run", "--data", str(home), "--group", "", "--port", "0", check=False)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "shows no token of pkcs11:token=km;object=known" in refused.stderr
    shutil.rmtree(tokens)
    away.rename(tokens)
    softhsm.write_pin("1" * 8)
    refused = keymote("manager", "run", "--data", str(home), "--group", "", "--port", "0", check=False)
    assert refused.returncode == 2
    assert "refuses the PIN" in refused.stderr
    softhsm.write_pin(softhsm.pin)

    manager.start()
    running = keymote("storage", "rotate", "--data", str(home), "--to", softhsm.uri("new"), check=False)
    assert (running.returncode, "in use by process" in running.stderr) == (2, True)
    manager.stop()
    for target in (softhsm.uri("new"), f"file:{home}/inside", softhsm.uri("last")):
        old = wrappings(ROLES["manager"], home)
        done = json.loads(keymote("storage", "rotate", "--data", str(home), "--to", target, "-o", "json").stdout)
        assert (done["key"], len(done["stores"])) == (target, 2)
        left = contents(home)
        assert not any(gone in left for gone in old)
        manager.start()
        opened = first.pair(second)
        until(lambda psid=opened["psid"]: psid in {row["psid"] for row in second.sessions()})
        manager.stop()
    softhsm.write_pin(softhsm.pin)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery\n")
    secret = ("--passphrase-file", str(passphrase))
    keymote("manager", "backup", "--data", str(home), "--to", str(tmp_path / "backup"), *secret)
    keymote("manager", "restore", str(tmp_path / "backup"), "--data", str(tmp_path / "elsewhere"), *secret)
    assert not (tmp_path / "elsewhere" / "key").exists()
    healthy = list(doctor_checks.key(softhsm.uri("last"), tmp_path / "elsewhere"))
    assert [(finding.check, finding.ok) for finding in healthy] == [("token", True)]
    manager.arguments = tuple(str(tmp_path / "elsewhere") if part == str(home) else part for part in manager.arguments)
    manager.start()
    first.pair(second)
