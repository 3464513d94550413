"""Keys in other programs' forms; the programs themselves are in tests/peers."""

import asyncio
import gc
import json
import os
import stat
from pathlib import Path

import pytest
from doors_desk import KEYS, PSID

from keymote.device import export
from keymote.device.agent import Agent
from keymote.engine.exports import PskForm, oscore_parameters, psk, psk_identity
from keymote.errors import CallerFault

SECRETS = (KEYS.dtls_psk.expose()[:16].hex(), KEYS.oscore_ms.expose().hex())


def test_PW33_identity_and_both_forms_of_the_psk():
    assert psk_identity(PSID, KEYS) == "00112233445566778899aabbccddeeff"
    assert psk(KEYS).expose() == b"6465666768696a6b6c6d6e6f70717273"
    assert psk(KEYS, PskForm.BINARY16).expose() == bytes(range(100, 116))


def test_PW32_both_sides_of_a_context_mirror_each_other():
    ours, theirs = (oscore_parameters(PSID, KEYS, initiator=initiator) for initiator in (True, False))
    assert (ours.sender_id, ours.recipient_id) == (theirs.recipient_id, theirs.sender_id) == (b"\x00", b"\x01")
    assert ours.secret == theirs.secret
    assert (ours.psid, ours.salt) == (theirs.psid, theirs.salt) == (PSID, KEYS.oscore_salt)


def test_aiocoap_files_name_a_context_that_it_loads(tmp_path):
    files = export.aiocoap_files(PSID, KEYS, initiator=True, peer="coap://127.0.0.1:5683", directory=tmp_path)
    export.write_files(tmp_path, files)
    from aiocoap import oscore
    from aiocoap.credentials import CredentialsMap

    credentials = CredentialsMap()
    credentials.load_from_dict(json.loads((tmp_path / "credentials.json").read_text()))
    context = credentials["coap://127.0.0.1:5683/*"]
    assert isinstance(context, oscore.FilesystemSecurityContext)
    assert (context.sender_id, context.recipient_id, context.id_context) == (b"\x00", b"\x01", PSID)
    assert (context.alg_aead.value, context.sender_sequence_number) == (10, 0)


def test_libcoap_files_carry_no_line_end(tmp_path):
    files = export.libcoap_files(PSID, KEYS, PskForm.TEXT32)
    assert files == {
        "psk.identity": b"00112233445566778899aabbccddeeff",
        "psk.key": b"6465666768696a6b6c6d6e6f70717273",
    }
    assert export.libcoap_files(PSID, KEYS, PskForm.BINARY16)["psk.key"] == bytes(range(100, 116))


def test_wireshark_files_name_context_and_psk():
    files = export.wireshark_files(PSID, KEYS, PskForm.TEXT32)
    assert files["oscore_contexts"].decode() == (
        f'"00","01","{KEYS.oscore_ms.expose().hex()}","{KEYS.oscore_salt.hex()}","{PSID.hex()}",'
        '"AES-CCM-16-64-128 (CCM*)"\n'
    )
    assert files["preferences"] == b"dtls.psk: " + psk(KEYS).expose().hex().encode() + b"\n"


def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        written = export.write_files(tmp_path / "keys", {"a": b"1", "deep/b": b"2"})
    finally:
        os.umask(before)
    assert [path.read_bytes() for path in written] == [b"1", b"2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in written} == {0o700}
    assert {path.name for path in (tmp_path / "keys").rglob("*") if path.is_file()} == {"a", "b"}


def test_nothing_is_replaced_and_nothing_half_done_stays(tmp_path):
    (tmp_path / "second").write_text("somebody's")
    with pytest.raises(CallerFault, match="second"):
        export.write_files(tmp_path, {"first": b"1", "second": b"2", "third": b"3"})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
    assert (tmp_path / "second").read_text() == "somebody's"


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    gc.collect()  # aiocoap's contexts of other tests write when they are collected: not while the disk is full
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(CallerFault, match="No space left"):
            export.write_files(tmp_path, {"first": b"1"})
    assert list(tmp_path.iterdir()) == []


class _Device:
    def __init__(self, desk) -> None:
        self.node = desk.node
        self.id = "00000000000000a1"

    def sessions(self):
        return tuple(self.node.sessions.values())


@pytest.fixture
def ask(desk):
    handler = Agent(_Device(desk)).handlers()["pair.export"]

    async def asked(directory: Path, **request: str):
        return await handler({"psid": PSID.hex(), "directory": str(directory), "peer": "coap://127.0.0.1:1", **request})

    return asked


@pytest.mark.parametrize(
    ("to", "state"), [("aiocoap", "handed over"), ("libcoap", "handed over"), ("wireshark", "active")]
)
async def test_an_export_hands_the_session_over_and_says_nothing_secret(desk, ask, tmp_path, to, state):
    desk.opened()
    answer = await ask(tmp_path / to, to=to)
    assert answer["state"] == state == desk.node.sessions[PSID].state
    assert not any(secret in json.dumps(answer) for secret in SECRETS)
    assert all(os.path.exists(name) for name in answer["files"])  # noqa: ASYNC240, PTH110  a look


async def test_RV06_a_revocation_removes_what_was_exported(desk, ask, tmp_path):
    desk.opened()
    for target in ("wireshark", "aiocoap"):
        await ask(tmp_path / target, to=target)
    desk.ended(revoked=True)
    async with asyncio.timeout(5):
        while [path for path in tmp_path.rglob("*") if path.is_file()]:  # noqa: ASYNC110  the agent sets no event of ours
            await asyncio.sleep(0)


async def test_files_of_a_session_that_just_ends_stay(desk, ask, tmp_path):
    """The peer may go on with it: closing is the owner's word, given to this device."""
    desk.opened()
    await ask(tmp_path / "keys", to="libcoap")
    desk.ended()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


async def test_a_session_is_exported_once(desk, ask, tmp_path):
    desk.opened()
    await ask(tmp_path / "first", to="aiocoap")
    with pytest.raises(CallerFault, match="handed over"):
        await ask(tmp_path / "second", to="libcoap")
    assert not (tmp_path / "second").exists()


async def test_an_export_of_a_context_in_use_leaves_no_file(desk, ask, tmp_path):
    desk.node.doors.attach_resources(desk.resources)
    desk.opened()
    desk.resources.used.add(PSID)
    with pytest.raises(CallerFault, match="in use here"):
        await ask(tmp_path / "keys", to="aiocoap")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("request_", [{"to": "putty"}, {"to": "libcoap", "form": "base64"}])
async def test_unknown_targets_and_forms_are_refused(desk, ask, tmp_path, request_):
    desk.opened()
    with pytest.raises(CallerFault, match="unknown export"):
        await ask(tmp_path / "keys", **request_)
