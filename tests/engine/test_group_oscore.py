"""A group's key as Group OSCORE inputs: the values by hand, and aiocoap's draft implementation between two members.

aiocoap signs another structure than RFC 9338 has (docs/how-to/group-oscore.md); the last test here turns red when it does not.
"""

import hashlib
import hmac
from typing import Any

import aiocoap
import cbor2
import pytest
from aiocoap import oscore
from aiocoap.numbers.codes import GET
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.oscore import GroupOscoreParameters, group_oscore
from keymote.errors import CallerFault

GID, SID = b"street-7", bytes(range(16))
MK = hashlib.sha256(b"the ring's key").digest()
CCM = 10
KEYS = [suite_by_id(1).generate_signing_key(SeededEntropy(b"%d" % n)) for n in range(3)]
SENDERS = sorted((hashlib.sha256(key.public).digest()[:8], key.public) for key in KEYS)


def exported(own: int, epoch: int = 0x0102_0304, sid: bytes = SID) -> GroupOscoreParameters:
    return group_oscore(GroupEpoch.of(suite_by_id(1), GID, epoch, Secret(MK), SENDERS, SENDERS[own][0]), sid)


def expanded(label: str, length: int) -> bytes:
    info = cbor2.dumps([f"TRIAD1/{label}", SID, length])
    return hmac.new(MK, info + b"\x01", hashlib.sha256).digest()[:length]


def test_GP16_the_values_are_those_of_the_text() -> None:
    made = exported(1)
    assert made.secret.expose() == expanded("B/oscore-ms", 16)
    assert made.salt == expanded("B/oscore-salt", 8)
    assert made.group_id == b"stre\x01\x02\x03\x04"
    assert made.sender_id == b"\x01"
    assert made.recipients == ((b"\x00", SENDERS[0][0]), (b"\x02", SENDERS[2][0]))


def test_GP16_members_agree_and_another_epoch_or_run_shares_nothing() -> None:
    one, other = exported(0), exported(2)
    assert (one.secret, one.salt, one.group_id) == (other.secret, other.salt, other.group_id)
    assert one.sender_id != other.sender_id
    assert exported(0, epoch=5).group_id != one.group_id
    assert exported(0, sid=bytes(16)).secret != one.secret


def test_GP16_neither_a_listener_nor_a_root_group_has_a_context() -> None:
    suite = suite_by_id(1)
    for own, by_kid in ((b"stranger", False), (SENDERS[0][0], True)):
        with pytest.raises(CallerFault):
            group_oscore(GroupEpoch.of(suite, GID, 1, Secret(MK), SENDERS, own, by_kid=by_kid), SID)


# ------------------------------------------------------------------ aiocoap


def ccs(public: bytes) -> bytes:
    """Return the credential that aiocoap reads: a CWT Claims Set with a COSE_Key (RFC 8392, RFC 8747)."""
    return cbor2.dumps({8: {1: {1: 1, 3: -8, -1: 6, -2: public}}})


def context(own: int, made: GroupOscoreParameters) -> Any:
    seeds = {key.public: key.seed.expose() for key in KEYS}
    return oscore.SimpleGroupContext(
        oscore.algorithms["AES-CCM-16-64-128"],
        oscore.hashfunctions["sha256"],
        oscore.algorithms_countersign["EdDSA on Ed25519"],
        oscore.algorithms["AES-CCM-16-64-128"],
        oscore.algorithms_staticstatic["ECDH-SS + HKDF-256"],
        made.group_id,
        made.secret.expose(),
        made.salt,
        made.sender_id,
        seeds[SENDERS[own][1]],
        ccs(SENDERS[own][1]),
        {recipient: ccs(dict(SENDERS)[kid]) for recipient, kid in made.recipients},
        ccs(b"gateway".ljust(32)),
    )


def carried(message: Any) -> Any:
    message.mtype, message.mid, message.token = aiocoap.NON, 1, b""
    return aiocoap.Message.decode(message.encode())


def request() -> Any:
    return aiocoap.Message(code=GET, uri_path=["tariff"], payload=b"0.31")


def opened(receiver: Any, message: Any) -> tuple[bytes, Any]:
    incoming = carried(message)
    unprotected = oscore.verify_start(incoming)
    aspect = receiver.get_oscore_context_for(unprotected)
    assert aspect is not None, "another group"
    plain, _ = aspect.unprotect(incoming)
    return plain.payload, aspect


def test_GP16_aiocoap_members_talk_in_group_mode_and_in_pairs() -> None:
    contexts = [context(own, exported(own)) for own in range(3)]
    to_all, _ = contexts[0].protect(request())
    for receiver in contexts[1:]:
        payload, aspect = opened(receiver, to_all)
        assert payload == b"0.31"
        assert aspect.recipient_id == b"\x00"
    to_one, _ = contexts[2].pairwise_for(b"\x00").protect(request())
    assert opened(contexts[0], to_one)[0] == b"0.31"
    with pytest.raises(oscore.ProtectionInvalid):
        opened(contexts[1], to_one)


def test_GP16_aiocoap_members_of_another_epoch_or_run_do_not() -> None:
    sent, _ = context(0, exported(0)).protect(request())
    other_epoch, other_run = exported(1, epoch=5), exported(1, sid=bytes(16))
    with pytest.raises(AssertionError, match="another group"):
        opened(context(1, other_epoch), sent)
    with pytest.raises(oscore.ProtectionInvalid):
        opened(context(1, other_run), sent)


def hkdf(salt: bytes, ikm: bytes, info: list[object], length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, cbor2.dumps(info)).derive(ikm)


def test_GP16_aiocoap_derives_what_the_text_of_group_oscore_says_and_signs_one_element_more() -> None:
    made = exported(0)
    sent, _ = context(0, made).protect(request())
    secret, salt, gid = made.secret.expose(), made.salt, made.group_id
    key = hkdf(salt, secret, [b"\x00", gid, CCM, "Key", 16], 16)
    iv = hkdf(salt, secret, [b"", gid, CCM, "IV", 13], 13)
    signature_key = hkdf(salt, secret, [b"", gid, CCM, "SEKey", 16], 16)

    option, payload = sent.opt.oscore, sent.payload
    assert option == b"\x39\x00\x08" + gid + b"\x00", "group flag, Partial IV 0, Gid, Sender ID"
    ciphertext, encrypted = payload[:-64], payload[-64:]
    keystream = hkdf(b"\x00", signature_key, [b"\x00", gid, True, 64], 64)
    signature = bytes(a ^ b for a, b in zip(encrypted, keystream, strict=True))
    credentials = [ccs(SENDERS[0][1]), ccs(b"gateway".ljust(32))]
    aad = cbor2.dumps([1, [CCM, CCM, -8, -27], b"\x00", b"\x00", b"", gid, option, *credentials])
    nonce = bytes(a ^ b for a, b in zip((1).to_bytes(1, "big") + bytes(12), iv, strict=True))
    plain = AESCCM(key, tag_length=8).decrypt(nonce, ciphertext, cbor2.dumps(["Encrypt0", b"", aad]))
    assert plain.endswith(b"\xff0.31")

    signer = Ed25519PublicKey.from_public_bytes(SENDERS[0][1])
    signer.verify(signature, cbor2.dumps(["CounterSignature0", b"", b"", aad, ciphertext]))
    with pytest.raises(InvalidSignature):
        signer.verify(signature, cbor2.dumps(["CounterSignature0", b"", aad, ciphertext]))
