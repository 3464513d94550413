"""Part `A_session`: one whole session between the enrolled device and another, recomputed (Triad-1 2.6, 2.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keymote.crypto import seal
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.pairwise import schedule
from keymote.errors import KeymoteError
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, hexes, section
from keymote.selftest.enrolment import Enrolled, enrolment, suite_of, vouched
from keymote.wire import pairwise as wire
from keymote.wire.credential import Claims, Role, SignedCredential, kid_of
from keymote.wire.fields import Sizes

_PARTIES: Final = ("D1", "D2", "NM1", "NM2")
_PRIVATE_SCALARS: Final = ("d1", "d2")
_PRIVATE_POINTS: Final = ("V1", "W1", "V2", "W2")
_PRIVATE: Final = (*_PRIVATE_SCALARS, *_PRIVATE_POINTS, "k_nm1", "k_nm2")
_SCALARS: Final = ("xI", "xR", "a1", "a2")
_POINTS: Final = ("XI", "NI", "C1R", "C2R", "XR", "NR", "C1I", "C2I", "Sh1", "Sh2", "B1", "B2", "S1")
_KEYS: Final = ("PRK", "KS", "psid", "T_A4", "kid", "dtls_psk", "oscore_ms", "oscore_salt")
_MESSAGES: Final = (
    "SESSREQ (in link)", "PEERCRED (in link)", "A1 AUTH1", "A2 AUTH2", "A3 KEYREQ", "A4 KEYRESP", "SHREQ (in link)",
    "SHARE-OBJ (foreign NM)", "SHRESP (in link)", "FIN1", "FIN2", "REVOKE (in link)", "CLOSE",
)  # fmt: skip

_MT_SHARE: Final = 25
_INITIATOR: Final = 1
_COMPROMISE_SUSPECTED: Final = 2
_FIRST: Final = 1
"""The format names no input for REVOKE's reason and counter: the given files hold D1's first report, which suspects D2."""


@dataclass(frozen=True, slots=True)
class _Session:
    """The file's values in the form in which the schedule takes them."""

    suite: Suite
    sizes: Sizes
    psid: bytes
    credential: Mapping[str, bytes]
    claims: Mapping[str, Claims]
    kid: Mapping[str, bytes]
    k: Mapping[str, Secret]
    Q: Mapping[str, Point]
    v: Mapping[str, bytes]
    m: Mapping[str, bytes]


def session(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """Recompute every value and message; check signatures, seals and how the session hangs on the file's enrolment."""
    suite, sizes = suite_of(document, suites)
    part = section(document.parts["A_session"], "A_session", ("credentials", "private", "values", "messages"))
    credential = hexes(part["credentials"], "credentials", _PARTIES)
    v = hexes(part["private"], "private", _PRIVATE) | hexes(part["values"], "values", (*_SCALARS, *_POINTS, *_KEYS))
    s = _Session(
        suite,
        sizes,
        v["psid"],
        credential,
        {name: SignedCredential.decode(raw).claims for name, raw in credential.items()},
        {name: kid_of(raw) for name, raw in credential.items()},
        {name: Secret(suite.check_scalar(v[name])) for name in (*_PRIVATE_SCALARS, *_SCALARS)},
        {name: suite.check(v[name]) for name in (*_PRIVATE_POINTS, *_POINTS)},
        v,
        hexes(part["messages"], "messages", _MESSAGES),
    )
    _credentials(s, checks, _enrolled(document, checks, suites))
    _introduction(s, checks)
    agreement = _agreement(s, checks)
    _use(s, checks, agreement)


def _enrolled(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> Enrolled | None:
    """Return what D1's enrolment left; its own mistakes are counted where that part is examined."""
    if "A_enrol" not in document.parts:
        checks.cannot_judge("signatures of NM1 and NM2: the coordinator's key stands in A_enrol, which the file lacks")
        return None
    try:
        return enrolment(document, Checks(), suites)
    except KeymoteError as fault:
        checks.holds(f"A_enrol of the same file: {fault}", False)
        return None


def _credentials(s: _Session, checks: Checks, enrolled: Enrolled | None) -> None:
    """Who vouches for whom, and that each device's d, V, W lie behind its E1 and E2: equations (3), (4)."""
    raw, claims, suite = s.credential, s.claims, s.suite
    for device, manager in (("D1", "NM1"), ("D2", "NM2")):
        with checks.accepted(f"signature of {device}"):
            issuer = suite.verify_key(claims[manager].sig_pk)
            SignedCredential.decode(raw[device]).verified_by(issuer)
        checks.equal(f"issuer of {device}", claims[device].iss, claims[manager].sub)
        checks.equal(f"role of {device}", claims[device].role, Role.DEVICE)
        checks.equal(f"role of {manager}", claims[manager].role, Role.MANAGER)
        for party in (device, manager):
            checks.equal(f"suite of {party}", claims[party].suite, suite.id)
            with checks.accepted(f"signature key of {party}"):
                suite.verify_key(claims[party].sig_pk)
    for n in "12":
        E1, E2 = _keys(s, f"D{n}")
        d, V, W = s.k[f"d{n}"], s.Q[f"V{n}"], s.Q[f"W{n}"]
        checks.equal(f"E2 of D{n} = d E1", suite.mul(d, E1), E2)
        checks.equal(f"E2 of D{n} = d V + W (4)", suite.add(suite.mul(d, V), W), E2)
    if enrolled is not None:
        checks.equal("D1", enrolled.cred_D, raw["D1"])
        checks.equal("NM1", enrolled.cred_NM, raw["NM1"])
        checks.equal("d1, V1, W1", (enrolled.d, enrolled.V, enrolled.W), (s.v["d1"], s.v["V1"], s.v["W1"]))
        vouched(checks, "D1", enrolled.trust, [raw["D1"], raw["NM1"]], Role.DEVICE)
        vouched(checks, "D2", enrolled.trust, [raw["D2"], raw["NM2"]], Role.DEVICE)
        vouched(checks, "NM2", enrolled.trust, [raw["NM2"]], Role.MANAGER)


def _introduction(s: _Session, checks: Checks) -> None:
    """Normal path with full credentials: no flag is set, and D1 is told the responder's and its manager's."""
    dev_id_2, cred = s.claims["D2"].sub, s.credential
    checks.equal("SESSREQ", wire.Sessreq(s.psid, dev_id_2, 0).encode(), s.m["SESSREQ (in link)"])
    peercred = wire.Peercred(s.psid, _INITIATOR, cred["D2"], cred["NM2"])
    checks.equal("PEERCRED", peercred.encode(), s.m["PEERCRED (in link)"])


def _agreement(s: _Session, checks: Checks) -> schedule.Agreement:
    """A1 to A4 and the shares: equations (5) to (9)."""
    suite, k, Q, v, m = s.suite, s.k, s.Q, s.v, s.m
    checks.equal("XI", suite.base_mul(k["xI"]), Q["XI"])
    checks.equal("XR", suite.base_mul(k["xR"]), Q["XR"])
    checks.equal("NI = C2R - d2 C1R (7)", schedule.recover(suite, k["d2"], Q["C1R"], Q["C2R"]), Q["NI"])
    checks.equal("NR = C2I - d1 C1I (7)", schedule.recover(suite, k["d1"], Q["C1I"], Q["C2I"]), Q["NR"])

    a1 = wire.Auth1(s.psid, suite.id, Q["XI"], Q["C1R"], Q["C2R"])
    checks.equal("A1", a1.encode(), m["A1 AUTH1"])
    digests = sha256(s.credential["D1"]), sha256(s.credential["D2"])
    handshake = schedule.Handshake.start(suite, "A/auth", s.psid, *digests, m["A1 AUTH1"])
    DH = suite.mul(k["xR"], Q["XI"])
    checks.equal("xI XR", suite.mul(k["xI"], Q["XR"]), DH)
    handshake = handshake.answered(wire.Auth2.decode(m["A2 AUTH2"], s.sizes))
    a2 = wire.Auth2(s.psid, Q["XR"], Q["C1I"], Q["C2I"], handshake.tag(Q["NI"], DH))
    checks.equal("A2", a2.encode(), m["A2 AUTH2"])

    channel = schedule.Channel(suite, handshake.key(Q["NI"], Q["NR"], DH), handshake.T)
    checks.equal("PRK", channel.PRK, Secret(v["PRK"]))
    checks.equal("Sh1 = a1 V1", suite.mul(k["a1"], Q["V1"]), Q["Sh1"])
    checks.equal("A3", wire.Keyreq(s.psid, channel.seal("A/k3", Q["Sh1"])).encode(), m["A3 KEYREQ"])
    channel = channel.add(m["A3 KEYREQ"])
    checks.equal("Sh2 = a2 V2", suite.mul(k["a2"], Q["V2"]), Q["Sh2"])
    checks.equal("A4", wire.Keyresp(s.psid, channel.seal("A/k4", Q["Sh2"])).encode(), m["A4 KEYRESP"])
    channel = channel.add(m["A4 KEYRESP"])
    checks.equal("T_A4", channel.T.value, v["T_A4"])

    _shares(s, checks)
    S = suite.sum(Q["Sh1"], Q["Sh2"], Q["B1"], Q["B2"])
    checks.equal("S1 = a1 V1 + a2 V2 + b1 W1 + b2 W2 (9)", S, Q["S1"])
    agreement = channel.agree(S, b"", b"")
    checks.equal("KS", agreement.KS, Secret(v["KS"]))
    return agreement


def _shares(s: _Session, checks: Checks) -> None:
    """What D1 gets from both managers: the own one's share bare, the foreign one's signed and sealed to D1."""
    suite, Q, kid = s.suite, s.Q, s.kid
    checks.equal("SHREQ", wire.Shreq(s.psid, kid["D1"], kid["D2"]).encode(), s.m["SHREQ (in link)"])
    for n in "12":
        b = schedule.share_scalar(suite, Secret(s.v[f"k_nm{n}"]), s.psid, kid["D1"], kid["D2"])
        checks.equal(f"B{n} = b W{n}", suite.mul(b, Q[f"W{n}"]), Q[f"B{n}"])
    response = wire.Shresp.decode(s.m["SHRESP (in link)"], s.sizes)
    share = response.share
    checks.equal("SHRESP", wire.Shresp(s.psid, Q["B1"], share).encode(), s.m["SHRESP (in link)"])
    checks.equal("SHARE-OBJ", share.encode(), s.m["SHARE-OBJ (foreign NM)"])
    checks.equal("kid of SHARE-OBJ", share.kid, kid["NM2"])
    context = schedule.share_context(s.psid, kid["D1"], kid["D2"], kid["D1"], kid["NM2"])
    with checks.accepted("signature of SHARE-OBJ"):
        share.check(suite.verify_key(s.claims["NM2"].sig_pk), _MT_SHARE, context)
    claims = wire.ShareClaims.decode(share.payload, s.sizes)
    checks.equal("psid of SHARE-OBJ", claims.psid, s.psid)
    E1, E2 = _keys(s, "D1")
    with checks.accepted("seal of SHARE-OBJ"):
        checks.equal("sealed share", seal.open_(suite, s.k["d1"], E1, E2, claims.C1, context, claims.ct), Q["B2"])


def _use(s: _Session, checks: Checks, agreement: schedule.Agreement) -> None:
    """Confirmation, exports and end of the session."""
    psid, v, m = s.psid, s.v, s.m
    checks.equal("FIN1", wire.Fin1(psid, agreement.fin(True)).encode(), m["FIN1"])
    checks.equal("FIN2", wire.Fin2(psid, agreement.fin(False)).encode(), m["FIN2"])
    exported = agreement.export()
    checks.equal("kid", exported.key_id, v["kid"])
    checks.equal("dtls_psk", exported.dtls_psk, Secret(v["dtls_psk"]))
    checks.equal("oscore_ms", exported.oscore_ms, Secret(v["oscore_ms"]))
    checks.equal("oscore_salt", exported.oscore_salt, v["oscore_salt"])
    checks.equal("CLOSE", wire.Close(psid, agreement.closing(psid, True)).encode(), m["CLOSE"])
    revoke = wire.Revoke(psid, exported.key_id, _COMPROMISE_SUSPECTED, s.kid["D2"], _FIRST)
    checks.equal("REVOKE", revoke.encode(), m["REVOKE (in link)"])


def _keys(s: _Session, device: str) -> tuple[Point, Point]:
    """Return E1 and E2 of a device; a credential without them cannot run protocol A."""
    claims = s.claims[device]
    return s.suite.check(claims.E1 or b""), s.suite.check(claims.E2 or b"")
