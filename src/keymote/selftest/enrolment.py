"""Part `A_enrol`: one whole enrolment, recomputed from its codes and scalars (Triad-1 2.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keymote import cbor
from keymote.crypto import dleq
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.crypto.suites import suite_by_id
from keymote.engine.chain import Pin, Trust
from keymote.engine.enrolment.schedule import Run, generator, opening
from keymote.errors import CallerFault
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, hexes, section
from keymote.wire import enrolment as wire
from keymote.wire.credential import Role, SignedCredential
from keymote.wire.fields import Sizes, sizes_of

_INPUTS: Final = ("otc_cbor", "hello_nonce", "dev_id", "nm_id", "nc_id", "nm_sig_pub", "nc_sig_pub")
_SCALARS: Final = ("yD", "yN", "d", "dN")
_POINTS: Final = ("B", "K", "eNM", "eD", "W", "V", "E1", "E2", "YD", "YN")
_VALUES: Final = (*_SCALARS, *_POINTS, "P", "link", "T_final")
_MESSAGES: Final = (
    "HELLO", "JOIN", "JOIN+cookie", "COOKIE", "OFFER", "SHARE", "VPT", "BIND", "CRED", "(credential)", "DONE",
)  # fmt: skip
_FULL_CODE: Final = 16
"""Bytes of a code that withstands a dictionary by itself; suites without a PAKE demand it (Triad-1 2.3)."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment leaves to the session of the same file."""

    trust: Trust
    cred_D: bytes
    cred_NM: bytes
    d: bytes
    V: bytes
    W: bytes


def suite_of(document: Document, suites: Mapping[int, Suite]) -> tuple[Suite, Sizes]:
    """Return the suite that the head of a file names, and its lengths; E_SUITE when we do not run it."""
    if document.suite is None:
        raise CallerFault("the head of the file names no suite")
    return suites[document.suite] if document.suite in suites else suite_by_id(document.suite), sizes_of(document.suite)


def enrolment(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> Enrolled:
    """Recompute every value and message; check tag, proof, possession and the credential chain."""
    suite, sizes = suite_of(document, suites)
    part = section(document.parts["A_enrol"], "A_enrol", ("inputs", "values", "messages"))
    i = hexes(part["inputs"], "inputs", _INPUTS)
    v = hexes(part["values"], "values", _VALUES)
    m = hexes(part["messages"], "messages", _MESSAGES)
    k = {name: Secret(suite.check_scalar(v[name])) for name in _SCALARS}
    Q = {name: suite.check(v[name]) for name in _POINTS}

    run = _exchange(suite, sizes, checks, i, k, Q, m)
    checks.equal("P", run.P, Secret(v["P"]))
    checks.equal("OFFER", wire.Offer(Q["YN"], Q["eNM"], run.offer_tag()).encode(), m["OFFER"])

    run, sig_pk = _bind(suite, sizes, checks, run, k, Q, m)

    body = wire.CredBody.decode(run.open("A/k7", wire.Cred.decode(m["CRED"], sizes).ct), sizes)
    checks.equal("CRED", wire.Cred(run.seal("A/k7", body.encode())).encode(), m["CRED"])
    run = run.add(m["CRED"])
    checks.equal("DONE", wire.DoneMessage(run.seal("A/k9", b"")).encode(), m["DONE"])
    checks.equal("link", run.link_key(), Secret(v["link"]))
    checks.equal("T_final", run.T.value, v["T_final"])
    checks.equal("(credential)", body.cred_D, m["(credential)"])

    trust = Trust((Pin(i["nc_id"], suite.id, i["nc_sig_pub"]),), {suite.id: suite})
    chain = [raw for raw in (body.cred_D, body.cred_NM, body.cred_NC) if raw is not None]
    vouched(checks, "cred_D", trust, chain, Role.DEVICE)
    vouched(checks, "cred_NM", trust, chain[1:], Role.MANAGER)
    claims, above = (SignedCredential.decode(raw).claims for raw in chain[:2])
    checks.equal(
        "what cred_D says",
        (claims.iss, claims.sub, claims.suite, claims.nc_id, claims.E1, claims.E2, claims.sig_pk),
        (i["nm_id"], i["dev_id"], suite.id, i["nc_id"], v["E1"], v["E2"], sig_pk),
    )
    checks.equal(
        "what cred_NM says",
        (above.iss, above.sub, above.suite, above.nc_id, above.sig_pk),
        (i["nc_id"], i["nm_id"], suite.id, i["nc_id"], i["nm_sig_pub"]),
    )
    return Enrolled(trust, body.cred_D, body.cred_NM, v["d"], v["V"], v["W"])


def vouched(checks: Checks, what: str, trust: Trust, chain: Sequence[bytes], role: Role) -> None:
    """Check a chain up to the pinned key and both points of its first credential; nobody's clock judges the dates."""
    with checks.accepted(f"chain of {what}"):
        claims = trust.verify(chain, role, None).claims
        for point in (claims.E1, claims.E2):
            trust.suite(claims.suite).check(point or b"")


def _exchange(
    suite: Suite,
    sizes: Sizes,
    checks: Checks,
    i: Mapping[str, bytes],
    k: Mapping[str, Secret],
    Q: Mapping[str, Point],
    m: Mapping[str, bytes],
) -> Run:
    """HELLO, JOIN, COOKIE and the points of OFFER."""
    hello = wire.Hello.decode(m["HELLO"], sizes)
    checks.equal(
        "HELLO's ids and nonce", (hello.nm_id, hello.nc_id, hello.hello_n), (i["nm_id"], i["nc_id"], i["hello_nonce"])
    )
    checks.holds("HELLO does not offer the suite", suite.id in hello.suites)
    match cbor.decode(i["otc_cbor"]):
        case [bytes(code), bytes()]:
            checks.holds("the code is too short for this suite", suite.pake or len(code) >= _FULL_CODE)
        case _:
            raise CallerFault("otc_cbor is not CBOR[OTC_D, code_NM]")

    join = wire.Join(suite.id, i["dev_id"], i["hello_nonce"][:8], Q["YD"])
    cookie = wire.Cookie.decode(m["COOKIE"], sizes).cookie
    checks.equal("JOIN", join.encode(), m["JOIN"])
    checks.equal(
        "JOIN+cookie", wire.Join(join.suite, join.dev_id, join.hello_n8, join.Y_D, cookie).encode(), m["JOIN+cookie"]
    )

    prs = Secret(i["otc_cbor"])
    B = generator(suite, prs, i["dev_id"], hello)
    checks.equal("B", B, Q["B"])
    checks.equal("YD = yD B", suite.mul(k["yD"], B), Q["YD"])
    checks.equal("YN = yN B", suite.mul(k["yN"], B), Q["YN"])
    checks.equal("K = yN YD", suite.mul(k["yN"], Q["YD"]), Q["K"])
    checks.equal("K = yD YN", suite.mul(k["yD"], Q["YN"]), Q["K"])
    T = opening(suite, hello, m["HELLO"], join)
    return Run.start(suite, T, prs, join, hello, Q["K"], Q["YN"], Q["eNM"])


def _bind(
    suite: Suite,
    sizes: Sizes,
    checks: Checks,
    run: Run,
    k: Mapping[str, Secret],
    Q: Mapping[str, Point],
    m: Mapping[str, bytes],
) -> tuple[Run, bytes]:
    """SHARE, VPT and BIND with equations (1) to (4); return the run after BIND and the device's signature key."""
    share = wire.ShareBody.decode(run.open("A/k4", wire.Share.decode(m["SHARE"], sizes).ct), sizes)
    body = wire.ShareBody(Q["W"], Q["eD"], share.sig_pk)
    checks.equal("SHARE", wire.Share(run.seal("A/k4", body.encode())).encode(), m["SHARE"])
    checks.equal("W = d eNM (1)", suite.mul(k["d"], Q["eNM"]), Q["W"])
    run = run.add(m["SHARE"])

    checks.equal("VPT", wire.Vpt(run.seal("A/k5", wire.VptBody(Q["V"]).encode())).encode(), m["VPT"])
    checks.equal("V = dN eD (2)", suite.mul(k["dN"], Q["eD"]), Q["V"])
    checks.equal("E1 = eNM + V (3)", suite.add(Q["eNM"], Q["V"]), Q["E1"])
    run = run.add(m["VPT"])

    bind = wire.BindBody.decode(run.open("A/k6", wire.Bind.decode(m["BIND"], sizes).ct), sizes)
    checks.equal(
        "BIND",
        wire.Bind(run.seal("A/k6", wire.BindBody(Q["E2"], bind.c, bind.s, bind.pop).encode())).encode(),
        m["BIND"],
    )
    checks.equal("E2 = d V + W (4)", suite.add(suite.mul(k["d"], Q["V"]), Q["W"]), Q["E2"])
    checks.equal("E2 = d E1", suite.mul(k["d"], Q["E1"]), Q["E2"])
    with checks.accepted("DLEQ proof in BIND"):
        dleq.verify(suite, bind.c, bind.s, Q["eNM"], Q["W"], Q["E1"], Q["E2"], "A/dleq", run.T.value)
    with checks.accepted("possession of the signature key in BIND"):
        suite.verify_key(share.sig_pk).verify(run.to_be_possessed(), bind.pop)
    return run.add(m["BIND"]), share.sig_pk
