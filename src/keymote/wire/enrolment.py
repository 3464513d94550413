"""Messages of enrolment (Triad-1 2.4) and the inner arrays that its AEADs carry."""

from typing import Annotated

from keymote.wire.cose import InlineSign1, Sign1
from keymote.wire.fields import (
    CODE,
    ID,
    MAC,
    POINT,
    SCALAR,
    SIGNATURE,
    TAG,
    Octets,
    Sized,
    Uint,
    UintList,
    bstr_size,
    sealed,
)
from keymote.wire.message import Body, Message, body, message

LONGEST_CHAIN = 1 + 3 * (3 + 256)
"""Bytes of CRED's plaintext at most: three credentials of the greatest length."""


@message(1)
class Hello(Message):
    """NM -> everybody: who manages this network. Nothing in it is trusted; its bytes enter the transcript."""

    nm_id: Annotated[bytes, ID]
    nc_id: Annotated[bytes, ID]
    suites: Annotated[tuple[int, ...], UintList()]
    hello_n: Annotated[bytes, Octets(16)]
    status_epoch: Annotated[int, Uint()]


@body
class HelloClaims(Body):
    """Payload of a signed HELLO."""

    nm_id: Annotated[bytes, ID]
    nc_id: Annotated[bytes, ID]
    suites: Annotated[tuple[int, ...], UintList()]
    hello_n: Annotated[bytes, Octets(16)]
    status_epoch: Annotated[int, Uint()]


@message(1)
class SignedHello(Message):
    """HELLO signed by the NM; a device without cred_NM checks the signature when CRED has brought it."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@message(2)
class Join(Message):
    """D -> NM: the device's CPace share; `cookie` only when the NM asked for one."""

    suite: Annotated[int, Uint(8)]
    dev_id: Annotated[bytes, ID]
    hello_n8: Annotated[bytes, ID]
    Y_D: Annotated[bytes, POINT]
    cookie: Annotated[bytes, MAC] | None = None


@message(3)
class Offer(Message):
    """NM -> D: the manager's CPace share, its random point e_NM and the proof that it knows the code."""

    Y_N: Annotated[bytes, POINT]
    e_NM: Annotated[bytes, POINT]
    tag: Annotated[bytes, MAC]


@body
class OfferPoints(Body):
    """What the transcript takes of OFFER before its tag exists: `CBOR[3, Y_N, e_NM]`."""

    mt: Annotated[int, Uint(8)]
    Y_N: Annotated[bytes, POINT]
    e_NM: Annotated[bytes, POINT]


@message(4)
class Share(Message):
    """D -> NM: AEAD of `ShareBody`."""

    ct: Annotated[bytes, sealed(lambda s: 1 + 3 * bstr_size(s.point))]


@body
class ShareBody(Body):
    """W = d_D e_NM (1), the device's random point e_D and its signature key."""

    W: Annotated[bytes, POINT]
    e_D: Annotated[bytes, POINT]
    sig_pk: Annotated[bytes, POINT]


@message(5)
class Vpt(Message):
    """NM -> D: AEAD of `VptBody`."""

    ct: Annotated[bytes, sealed(lambda s: 1 + bstr_size(s.point))]


@body
class VptBody(Body):
    """V = d_NM e_D (2)."""

    V: Annotated[bytes, POINT]


@message(6)
class Bind(Message):
    """D -> NM: AEAD of `BindBody`."""

    ct: Annotated[bytes, sealed(lambda s: 1 + bstr_size(s.point) + 2 * bstr_size(32) + bstr_size(64))]


@body
class BindBody(Body):
    """E2 = d_D V + W (4), the DLEQ proof for it over the transcript, and possession of the signature key."""

    E2: Annotated[bytes, POINT]
    c: Annotated[bytes, SCALAR]
    s: Annotated[bytes, SCALAR]
    pop: Annotated[bytes, SIGNATURE]


@message(7)
class Cred(Message):
    """NM -> D: AEAD of `CredBody`."""

    ct: Annotated[bytes, Octets(64, LONGEST_CHAIN + TAG)]


@body
class CredBody(Body):
    """The device's credential, its NM's, and its NC's unless the NM's issuer is pinned."""

    cred_D: Annotated[bytes, Octets(64, 256)]
    cred_NM: Annotated[bytes, Octets(64, 256)]
    cred_NC: Annotated[bytes, Octets(64, 256)] | None = None


@message(8)
class Cookie(Message):
    """NM -> D instead of OFFER: come again with this, so that I know where you are."""

    cookie: Annotated[bytes, MAC]


@message(9)
class DoneMessage(Message):
    """D -> NM: AEAD of nothing; the code may be forgotten."""

    ct: Annotated[bytes, Sized(lambda _: TAG)]


@message(10)
class Error(Message):
    """Inside an authenticated channel only: the message type refused and why (Triad-1 1.11).

    `psid` when the refused message was about a session: several may be under way in one LINK (docs/decisions/0004).
    """

    offending: Annotated[int, Uint(8)]
    code: Annotated[int, CODE]
    psid: Annotated[bytes, ID] | None = None


__all__ = [
    "Bind",
    "BindBody",
    "Cookie",
    "Cred",
    "CredBody",
    "DoneMessage",
    "Error",
    "Hello",
    "HelloClaims",
    "Join",
    "Offer",
    "OfferPoints",
    "Share",
    "ShareBody",
    "SignedHello",
    "Vpt",
    "VptBody",
]


# ------------------------------------------------------------------ renewal, inside LINK (docs/decisions/0121)


@message(61)
class Renew(Message):
    """D -> NM: the newest credential that I hold has this kid; is there a newer one?"""

    kid: Annotated[bytes, ID]


@message(62)
class Newcred(Message):
    """NM -> D: your newest credential, for the same keys, its issuer's, and that one's issuer's unless it is pinned."""

    cred: Annotated[bytes, Octets(64, 256)]
    cred_NM: Annotated[bytes, Octets(64, 256)]
    cred_NC: Annotated[bytes, Octets(64, 256)] | None = None
