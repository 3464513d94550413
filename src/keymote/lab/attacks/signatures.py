"""What signature libraries accept that a protocol must not (I-02, I-04, I-10, I-12)."""

import hashlib
import hmac
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from keymote import cbor
from keymote.crypto.secret import equal
from keymote.crypto.sign import SigningKey
from keymote.crypto.suite import Suite
from keymote.crypto.suites import suite_by_id
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, refused
from keymote.wire.cose import Sign1
from keymote.wire.credential import MT_CREDENTIAL, Claims, Role, SignedCredential, issue

UNIVERSAL_KEY = b"\x01" + bytes(31)
"""The identity of Ed25519's curve as a public key."""
UNIVERSAL_SIGNATURE = UNIVERSAL_KEY + bytes(32)
"""R = identity, S = 0: satisfies S·B = R + h·A for every message when A is the identity."""
_ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def openssl_accepts(public: bytes, message: bytes, signature: bytes) -> bool:
    """Verify an Ed25519 signature with OpenSSL, which does not look at the key's order."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _bare_ed25519(effort: Effort) -> Outcome:
    entropy = effort.entropy("I-02")
    messages = [entropy.draw(24) for _ in range(64)]
    universal = sum(openssl_accepts(UNIVERSAL_KEY, message, UNIVERSAL_SIGNATURE) for message in messages)
    eighth = sum(openssl_accepts(_ORDER_8, message, UNIVERSAL_SIGNATURE) for message in messages)
    if universal != len(messages) or not eighth:
        return Fails("library", f"only {universal} of {len(messages)} verify")
    return Succeeds(f"one constant signature verifies for {universal} of 64 messages, {eighth} under a key of order 8")


def _small_order(key: bytes) -> Attempt:
    def run(effort: Effort) -> Outcome:
        suite, messages = suite_by_id(1), [effort.entropy("I-02").draw(24)]
        messages += [bytes([n]) for n in range(64)]
        try:
            verifier = suite.verify_key(key)
        except PeerFault as fault:
            return refused(fault.code, fault.what)
        forged = 0
        for message in messages:
            try:
                verifier.verify(message, UNIVERSAL_SIGNATURE)
            except PeerFault:
                continue
            forged += 1
        return Succeeds(f"{forged} messages forged under it") if forged else Fails("nothing", "accepted, but useless")

    return Attempt("identity key" if key == UNIVERSAL_KEY else "key of order 8", "E_POINT", run)


# ------------------------------------------------------------------ credentials to attack


def _claims(suite: Suite, effort: Effort) -> Claims:
    entropy = effort.entropy("claims")
    return Claims(
        iss=entropy.draw(8),
        sub=entropy.draw(8),
        exp=2_000_000_000,
        iat=1_800_000_000,
        serial=entropy.draw(8),
        suite=suite.id,
        nc_id=entropy.draw(8),
        E1=suite.random_point(entropy),
        E2=suite.random_point(entropy),
        sig_pk=suite.generate_signing_key(entropy).public,
        status_epoch=0,
        role=Role.DEVICE,
    )


def _issuer(suite: Suite, effort: Effort) -> SigningKey:
    return suite.generate_signing_key(effort.entropy("issuer"))


def _present(suite: Suite, issuer: SigningKey, raw: bytes, wanted: str) -> Outcome:
    """Show a credential to a verifier that knows the issuer's key."""
    try:
        accepted = SignedCredential.decode(raw).verified_by(suite.verify_key(issuer.public))
    except PeerFault as fault:
        return refused(fault.code, fault.what)
    return Succeeds(f"{wanted}: accepted as kid {accepted.kid.hex()}")


# ------------------------------------------------------------------ I-04


def _other_s(signature: bytes, order: int) -> bytes:
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + (order - s).to_bytes(32, "big")


def _bare_ecdsa(effort: Effort) -> Outcome:
    suite = suite_by_id(17)
    key = _issuer(suite, effort)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
    signature = key.sign(b"message")
    for candidate in (signature, _other_s(signature, suite.order)):
        r, s = int.from_bytes(candidate[:32], "big"), int.from_bytes(candidate[32:], "big")
        try:
            public.verify(encode_dss_signature(r, s), b"message", ec.ECDSA(SHA256()))
        except InvalidSignature:
            return Fails("library", "the library refuses one of the two")
    return Succeeds("s and q - s both verify: one signature, two encodings")


def _second_credential(effort: Effort) -> Outcome:
    """Give a revoked credential another kid by turning s into q - s."""
    suite = suite_by_id(17)
    issuer = _issuer(suite, effort)
    credential = issue(issuer, _claims(suite, effort))
    envelope = Sign1.decode(credential.raw, kid=False)
    turned = Sign1(envelope.protected, None, envelope.payload, _other_s(envelope.signature, suite.order))
    return _present(suite, issuer, turned.encode(), f"a second kid for the credential {credential.kid.hex()}")


# ------------------------------------------------------------------ I-10

_HS512 = bytes.fromhex("a10107")
"""{1: 7}: HMAC with SHA-512 (RFC 9053 3.1), whose tag is as long as our signatures."""
_EDDSA = bytes.fromhex("a10127")
"""{1: -8}: the polymorphic EdDSA that RFC 9864 deprecates."""


def agile_accepts(envelope: Sign1, public: bytes, suite: Suite, mt: int, ctx: bytes = b"") -> bool:
    """Verify as a library does that picks the algorithm from the message and takes any key bytes for it."""
    aad = cbor.encode(["TRIAD1", mt, suite.id, ctx])
    signed = cbor.encode(["Signature1", envelope.protected, aad, envelope.payload])
    if envelope.protected == _HS512:
        return equal(hmac.digest(public, signed, "sha512"), envelope.signature)
    return openssl_accepts(public, signed, envelope.signature)


def _confused(effort: Effort) -> tuple[Suite, SigningKey, Sign1]:
    """Return a credential "signed" by HMAC under the issuer's public key, which everybody knows."""
    suite = suite_by_id(1)
    issuer = _issuer(suite, effort)
    payload = _claims(suite, effort).encode()
    aad = cbor.encode(["TRIAD1", MT_CREDENTIAL, suite.id, b""])
    signed = cbor.encode(["Signature1", _HS512, aad, payload])
    tag = hmac.digest(issuer.public, signed, hashlib.sha512)
    return suite, issuer, Sign1(_HS512, None, payload, tag)


def _agile_verifier(effort: Effort) -> Outcome:
    suite, issuer, forged = _confused(effort)
    if not agile_accepts(forged, issuer.public, suite, MT_CREDENTIAL):
        return Fails("library", "the forgery does not verify")
    return Succeeds("an HMAC under the issuer's public key passes for the issuer's signature")


def _hmac_as_signature(effort: Effort) -> Outcome:
    suite, issuer, forged = _confused(effort)
    return _present(suite, issuer, forged.encode(), "a credential that nobody signed")


def _deprecated_algorithm(effort: Effort) -> Outcome:
    """Relabel a sound signature as EdDSA (-8): a second encoding of the same credential."""
    suite = suite_by_id(1)
    issuer = _issuer(suite, effort)
    payload = _claims(suite, effort).encode()
    aad = cbor.encode(["TRIAD1", MT_CREDENTIAL, suite.id, b""])
    signature = issuer.sign(cbor.encode(["Signature1", _EDDSA, aad, payload]))
    return _present(suite, issuer, Sign1(_EDDSA, None, payload, signature).encode(), "a credential under -8")


# ------------------------------------------------------------------ I-12


def mirror(payload: bytes) -> bytes:
    """Return what an API shows a person of a credential's claims: JSON of the fields that the person asked about."""
    claims = Claims.decode(payload)
    shown = {"iss": claims.iss.hex(), "sub": claims.sub.hex(), "exp": claims.exp, "serial": claims.serial.hex()}
    return json.dumps(shown, sort_keys=True).encode()


def _mirror_lies(effort: Effort) -> Outcome:
    """Sign the JSON mirror instead of the bytes: whatever the mirror does not show can be exchanged afterwards."""
    suite = suite_by_id(1)
    issuer, claims = _issuer(suite, effort), _claims(suite, effort)
    signature = issuer.sign(mirror(claims.encode()))
    exchanged = _with_own_keys(suite, claims, effort)
    suite.verify_key(issuer.public).verify(mirror(exchanged.encode()), signature)
    return Succeeds("E1, E2 and the signature key are exchanged under a signature over the JSON mirror")


def _with_own_keys(suite: Suite, claims: Claims, effort: Effort) -> Claims:
    entropy = effort.entropy("mallory")
    E1 = suite.random_point(entropy)
    return Claims(
        claims.iss,
        claims.sub,
        claims.exp,
        claims.iat,
        claims.serial,
        claims.suite,
        claims.nc_id,
        E1,
        suite.mul(suite.random_scalar(entropy), E1),
        suite.generate_signing_key(entropy).public,
        claims.status_epoch,
        claims.role,
    )


def _mirrored_credential(effort: Effort) -> Outcome:
    """Take an honest credential and exchange what its JSON mirror does not show."""
    suite = suite_by_id(1)
    issuer, claims = _issuer(suite, effort), _claims(suite, effort)
    honest = Sign1.decode(issue(issuer, claims).raw, kid=False)
    exchanged = _with_own_keys(suite, claims, effort).encode()
    assert mirror(exchanged) == mirror(honest.payload)
    forged = Sign1(honest.protected, None, exchanged, honest.signature)
    return _present(suite, issuer, forged.encode(), "other keys behind the same JSON mirror")


ATTACKS = (
    Attack(
        "I-02",
        "Ed25519 keys of small order",
        "I",
        _bare_ed25519,
        (_small_order(UNIVERSAL_KEY), _small_order(_ORDER_8)),
    ),
    Attack(
        "I-04",
        "ECDSA's second signature",
        "M",
        _bare_ecdsa,
        (Attempt("second kid by q - s", "E_CRED", _second_credential),),
    ),
    Attack(
        "I-10",
        "COSE algorithm confusion",
        "M",
        _agile_verifier,
        (
            Attempt("HMAC as a signature", "E_FORMAT", _hmac_as_signature),
            Attempt("deprecated algorithm", "E_FORMAT", _deprecated_algorithm),
        ),
    ),
    Attack(
        "I-12",
        "JSON mirror signed in place of the bytes",
        "M",
        _mirror_lies,
        (Attempt("keys exchanged behind the mirror", "E_CRED", _mirrored_credential),),
    ),
)
