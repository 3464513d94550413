"""Write our own runs of Triad-1 into the package, in the format of the given vectors.

    python tools/make_vectors.py [--check]

They stand beside the given vectors, never in their place: the same schedules make them and recompute them, so they show
only that nothing has moved since. What they add is what the given files leave out: suite 2, a short code with a
manager's own code, a HELLO with several suites, a coordinator's credential in CRED, larger numbers.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import group_vectors
import topic_vectors
from keymote import cbor
from keymote.crypto import dleq, seal
from keymote.crypto.entropy import Entropy, SeededEntropy
from keymote.crypto.kdf import Transcript, expand, sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, SigningKey, Suite
from keymote.crypto.suites import SUITES
from keymote.engine.enrolment.schedule import Run, generator, opening
from keymote.engine.pairwise import schedule
from keymote.wire import enrolment as enrol
from keymote.wire import pairwise as pair
from keymote.wire.cose import sign1
from keymote.wire.credential import Claims, Credential, Role, issue

DATA: Final = Path(__file__).parents[1] / "src" / "keymote" / "selftest" / "data"
CODES: Final[Mapping[int, tuple[bytes, bytes]]] = {
    1: (b"4711081547", b"gateway 7"),
    2: (bytes(range(16)), b""),
    3: (b"0815471100", b"gateway 3"),
    17: (bytes(range(16, 48)), b"gateway 17"),
}
"""Suite -> one-time code and the manager's own: digits where CPace protects them, 16 and 32 raw bytes elsewhere."""
Values = dict[str, bytes | Secret]
IAT, EXP = 1_700_000_000, 4_000_000_000


@dataclass(frozen=True, slots=True)
class Party:
    """A node that holds a credential."""

    id: bytes
    key: SigningKey
    credential: Credential


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What one enrolment gives: the device, its d, V, W, and the part for the file."""

    device: Party
    d: Secret
    V: Point
    W: Point
    part: Mapping[str, object]


def main() -> int:
    """Write the files; with `--check` only say whether they are what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file differs")
    check = parser.parse_args().check
    stale = []
    for name, content in files():
        path = DATA / name
        if check:
            stale += [] if path.exists() and path.read_text() == content else [name]
        else:
            path.write_text(content)
    print("\n".join(f"{name} is not what this program writes" for name in stale) or "done")
    return 1 if stale else 0


def files() -> list[tuple[str, str]]:
    """Return name and content of every file."""
    return [(f"triad1-suite-{suite.id}.json", json.dumps(vectors(suite), indent=1) + "\n") for suite in SUITES.values()]


def vectors(suite: Suite) -> dict[str, object]:
    """Return the parts kdf, transcript, A_enrol and A_session of one fleet, the runs of two rings, and C."""
    entropy = SeededEntropy(b"keymote/selftest/%d" % suite.id)
    nc = suite.generate_signing_key(entropy)
    nc_id = entropy.draw(8)
    root = suite.generate_signing_key(entropy)
    cred_NC = _credential(suite, entropy, root, entropy.draw(8), nc_id, nc_id, nc.public, Role.COORDINATOR)
    managers = [_manager(suite, entropy, nc, nc_id) for _ in range(2)]
    first = enrolment(suite, entropy, managers[0], nc, nc_id, cred_NC)
    second = enrolment(suite, entropy, managers[1], nc, nc_id, cred_NC)
    return {
        "format": "triad1",
        "suite": suite.id,
        "origin": "tools/make_vectors.py: this program's own schedules, seeded; no one else has agreed",
        "kdf": _kdf(entropy),
        "transcript": _transcript(suite, entropy),
        "A_enrol": first.part,
        "A_session": session(suite, entropy, managers, first, second),
        **group_vectors.parts(suite, entropy),
        "C": topic_vectors.part(entropy),
    }


def enrolment(
    suite: Suite, entropy: Entropy, nm: Party, nc: SigningKey, nc_id: bytes, cred_NC: Credential
) -> Enrolment:
    """Run one enrolment, both sides at once (Triad-1 2.4)."""
    prs = Secret(cbor.encode_array(*CODES[suite.id]))
    dev_id, hello_n, cookie = entropy.draw(8), entropy.draw(16), entropy.draw(16)
    key = suite.generate_signing_key(entropy)
    k = {name: suite.random_scalar(entropy) for name in ("yD", "yN", "d", "dN")}
    hello = enrol.Hello(nm.id, nc_id, (suite.id, *islice((s for s in SUITES if s != suite.id), 1)), hello_n, 70_000)

    B = generator(suite, prs, dev_id, hello)
    YD, YN, eNM, eD = (
        suite.mul(k["yD"], B),
        suite.mul(k["yN"], B),
        suite.random_point(entropy),
        suite.random_point(entropy),
    )
    join = enrol.Join(suite.id, dev_id, hello_n[:8], YD)
    K = suite.mul(k["yN"], YD)
    run = Run.start(suite, opening(suite, hello, hello.encode(), join), prs, join, hello, K, YN, eNM)
    P = run.P
    m = {
        "HELLO": hello.encode(),
        "JOIN": join.encode(),
        "JOIN+cookie": enrol.Join(suite.id, dev_id, hello_n[:8], YD, cookie).encode(),
        "COOKIE": enrol.Cookie(cookie).encode(),
        "OFFER": enrol.Offer(YN, eNM, run.offer_tag()).encode(),
    }

    W, V = suite.mul(k["d"], eNM), suite.mul(k["dN"], eD)
    E1 = suite.add(eNM, V)
    E2 = suite.add(suite.mul(k["d"], V), W)
    m["SHARE"] = enrol.Share(run.seal("A/k4", enrol.ShareBody(W, eD, key.public).encode())).encode()
    run = run.add(m["SHARE"])
    m["VPT"] = enrol.Vpt(run.seal("A/k5", enrol.VptBody(V).encode())).encode()
    run = run.add(m["VPT"])
    proof = dleq.prove(suite, k["d"], eNM, W, E1, E2, "A/dleq", run.T.value, entropy)
    bind = enrol.BindBody(E2, *proof, key.sign(run.to_be_possessed()))
    m["BIND"] = enrol.Bind(run.seal("A/k6", bind.encode())).encode()
    run = run.add(m["BIND"])
    cred_D = _credential(suite, entropy, nm.key, nm.id, dev_id, nc_id, key.public, Role.DEVICE, E1, E2)
    chain = enrol.CredBody(cred_D.raw, nm.credential.raw, cred_NC.raw)
    m["CRED"] = enrol.Cred(run.seal("A/k7", chain.encode())).encode()
    run = run.add(m["CRED"])
    m |= {"(credential)": cred_D.raw, "DONE": enrol.DoneMessage(run.seal("A/k9", b"")).encode()}

    inputs: Values = {
        "otc_cbor": prs.expose(),
        "hello_nonce": hello_n,
        "dev_id": dev_id,
        "nm_id": nm.id,
        "nc_id": nc_id,
        "nm_sig_pub": nm.key.public,
        "nc_sig_pub": nc.public,
    }
    values: Values = {"B": B, "K": K, "eNM": eNM, "P": P, "eD": eD, "W": W, "V": V, "E1": E1, "E2": E2}
    values |= {"link": run.link_key(), "YD": YD, "YN": YN, "T_final": run.T.value, **k}
    part = {"inputs": _hex(inputs), "values": _hex(values), "messages": _hex(m)}
    return Enrolment(Party(dev_id, key, cred_D), k["d"], V, W, part)


def session(
    suite: Suite, entropy: Entropy, managers: list[Party], first: Enrolment, second: Enrolment
) -> dict[str, object]:
    """Run one session, all four parties at once (Triad-1 2.6, 2.8)."""
    nm1, nm2 = managers
    c1, c2 = first.device.credential, second.device.credential
    psid = entropy.draw(8)
    k = {name: suite.random_scalar(entropy) for name in ("xI", "xR", "a1", "a2")}
    k_nm1, k_nm2 = Secret(entropy.draw(32)), Secret(entropy.draw(32))
    XI, XR = suite.base_mul(k["xI"]), suite.base_mul(k["xR"])
    for_R = schedule.challenge(suite, *_keys(suite, c2), entropy)
    for_I = schedule.challenge(suite, *_keys(suite, c1), entropy)
    DH = suite.mul(k["xI"], XR)

    m = {
        "SESSREQ (in link)": pair.Sessreq(psid, second.device.id, 0).encode(),
        "PEERCRED (in link)": pair.Peercred(psid, 1, c2.raw, nm2.credential.raw).encode(),
        "A1 AUTH1": pair.Auth1(psid, suite.id, XI, for_R.C1, for_R.C2).encode(),
    }
    handshake = schedule.Handshake.start(suite, "A/auth", psid, c1.digest, c2.digest, m["A1 AUTH1"])
    handshake = handshake.answered(pair.Auth2(psid, XR, for_I.C1, for_I.C2, bytes(16)))
    m["A2 AUTH2"] = pair.Auth2(psid, XR, for_I.C1, for_I.C2, handshake.tag(for_R.N, DH)).encode()
    channel = schedule.Channel(suite, handshake.key(for_R.N, for_I.N, DH), handshake.T)
    Sh1, Sh2 = suite.mul(k["a1"], first.V), suite.mul(k["a2"], second.V)
    m["A3 KEYREQ"] = pair.Keyreq(psid, channel.seal("A/k3", Sh1)).encode()
    channel = channel.add(m["A3 KEYREQ"])
    m["A4 KEYRESP"] = pair.Keyresp(psid, channel.seal("A/k4", Sh2)).encode()
    channel = channel.add(m["A4 KEYRESP"])

    B1, B2 = (
        suite.mul(schedule.share_scalar(suite, k_nm, psid, c1.kid, c2.kid), W)
        for k_nm, W in ((k_nm1, first.W), (k_nm2, second.W))
    )
    context = schedule.share_context(psid, c1.kid, c2.kid, c1.kid, nm2.credential.kid)
    sealed = seal.seal(suite, *_keys(suite, c1), context, B2, entropy)
    payload = pair.ShareClaims(psid, *sealed).encode()
    share = sign1(nm2.key, pair.Shresp.mt, payload, ctx=context, kid=nm2.credential.kid)
    S = suite.sum(Sh1, Sh2, B1, B2)
    agreement = channel.agree(S, b"", b"")
    exported = agreement.export()
    m |= {
        "SHREQ (in link)": pair.Shreq(psid, c1.kid, c2.kid).encode(),
        "SHARE-OBJ (foreign NM)": share.encode(),
        "SHRESP (in link)": pair.Shresp(psid, B1, share).encode(),
        "FIN1": pair.Fin1(psid, agreement.fin(True)).encode(),
        "FIN2": pair.Fin2(psid, agreement.fin(False)).encode(),
        "REVOKE (in link)": pair.Revoke(psid, exported.key_id, 2, c2.kid, 1).encode(),
        "CLOSE": pair.Close(psid, agreement.closing(psid, True)).encode(),
    }

    credentials: Values = {"D1": c1.raw, "D2": c2.raw, "NM1": nm1.credential.raw, "NM2": nm2.credential.raw}
    private: Values = {"d1": first.d, "V1": first.V, "W1": first.W, "d2": second.d, "V2": second.V, "W2": second.W}
    values: Values = {
        "XI": XI,
        "NI": for_R.N,
        "C1R": for_R.C1,
        "C2R": for_R.C2,
        "Sh1": Sh1,
        "Sh2": Sh2,
        "B1": B1,
        "B2": B2,
    }
    values |= {"XR": XR, "NR": for_I.N, "C1I": for_I.C1, "C2I": for_I.C2, "S1": S, "PRK": channel.PRK, **k}
    values |= {"KS": agreement.KS, "psid": psid, "T_A4": channel.T.value, "kid": exported.key_id}
    values |= {"dtls_psk": exported.dtls_psk, "oscore_ms": exported.oscore_ms, "oscore_salt": exported.oscore_salt}
    return {
        "credentials": _hex(credentials),
        "private": _hex(private | {"k_nm1": k_nm1, "k_nm2": k_nm2}),
        "values": _hex(values),
        "messages": _hex(m),
    }


def _kdf(entropy: Entropy) -> dict[str, object]:
    prk, ctx, label, length = entropy.draw(32), entropy.draw(40), "A/oscore-ms", 80
    info = cbor.encode_array("TRIAD1/" + label, ctx, length)
    out = expand(Secret(prk), label, ctx, length)
    return {**_hex({"prk": prk, "ctx": ctx, "info": info, "out": out}), "label": label, "L": length}


def _transcript(suite: Suite, entropy: Entropy) -> dict[str, object]:
    label, psid, message = "A/nmauth", entropy.draw(8), entropy.draw(70)
    items = [sha256(entropy.draw(32)) for _ in range(3)]
    T0 = Transcript.begin(label, suite.id, psid, *items)
    inputs = {"label": label, "suite": suite.id, "psid": psid.hex(), "message": message.hex()}
    return {
        "inputs": {**inputs, "items": [item.hex() for item in items]},
        "T0": T0.value.hex(),
        "after_m1": T0.add(message).value.hex(),
    }


def _manager(suite: Suite, entropy: Entropy, nc: SigningKey, nc_id: bytes) -> Party:
    nm_id, key, d = entropy.draw(8), suite.generate_signing_key(entropy), suite.random_scalar(entropy)
    E1 = suite.random_point(entropy)
    keys = (E1, suite.mul(d, E1))
    return Party(nm_id, key, _credential(suite, entropy, nc, nc_id, nm_id, nc_id, key.public, Role.MANAGER, *keys))


def _credential(
    suite: Suite,
    entropy: Entropy,
    issuer: SigningKey,
    iss: bytes,
    sub: bytes,
    nc_id: bytes,
    sig_pk: bytes,
    role: Role,
    E1: Point | None = None,
    E2: Point | None = None,
) -> Credential:
    claims = Claims(iss, sub, EXP, IAT, entropy.draw(8), suite.id, nc_id, E1, E2, sig_pk, 70_000, role)
    return issue(issuer, claims)


def _keys(suite: Suite, credential: Credential) -> tuple[Point, Point]:
    return suite.check(credential.claims.E1 or b""), suite.check(credential.claims.E2 or b"")


def _hex(values: Mapping[str, bytes] | Values) -> dict[str, str]:
    return {name: (value.expose() if isinstance(value, Secret) else value).hex() for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
