"""Messages of the pairwise session (Triad-1 2.5 to 2.8): between devices, between a device and its NM, between NMs."""

from typing import Annotated

from keymote import cbor
from keymote.wire.cose import InlineSign1, Sign1
from keymote.wire.fields import HASH, ID, MAC, POINT, TAG, Number, Octets, OneOf, Uint, sealed
from keymote.wire.message import Body, Message, body, message

CREDENTIAL = Octets(64, 256)
REASON = Number(0, 4)
"""Of a revocation: unspecified, key lost, compromise suspected, superseded, retired (Triad-1 8)."""
KAPPA = OneOf((0, 32))
"""A manager's post-quantum share; empty outside the post-quantum profile."""
MAX_RECORD = 1024
"""Bytes of plaintext in one LINK or SREC record."""

FAST = 1
COMPACT = 2
EDHOC = 4
"""Of SESSREQ and XCRED: the devices authenticate by EDHOC; in PEERCRED it is added to the role (docs/decisions/0071)."""
MAX_EDHOC = 256
"""Bytes of one message of EDHOC between devices."""


# ------------------------------------------------------------------ LINK and what travels in it


@message(18)
class Link(Message):
    """A record between a device and its NM, or between two NMs (Triad-1 1.7); `lid` is a pseudonym of the link."""

    lid: Annotated[bytes, ID]
    le: Annotated[int, Uint()]
    seq: Annotated[int, Uint()]
    ct: Annotated[bytes, Octets(TAG, MAX_RECORD + TAG)]


@message(13)
class XshareRequest(Message):
    """NM -> NM: the other manager's share for my device, please."""

    psid: Annotated[bytes, ID]
    kid_I: Annotated[bytes, ID]
    kid_R: Annotated[bytes, ID]


@message(13)
class XshareAnswer(Message):
    """NM -> NM: the share, sealed to the asking manager's device."""

    psid: Annotated[bytes, ID]
    share: Annotated[Sign1, InlineSign1(kid=True)]


@body
class ShareClaims(Body):
    """Payload of ShareObj: SEAL(E1, E2 of the target, ctx, b W)."""

    psid: Annotated[bytes, ID]
    C1: Annotated[bytes, POINT]
    ct: Annotated[bytes, sealed(lambda s: s.point)]


@message(16)
class Sessreq(Message):
    """D1 -> NM1: a session with dev_id_2, please. flags: bit 0 fast, bit 1 compact."""

    psid: Annotated[bytes, ID]
    dev_id_2: Annotated[bytes, ID]
    flags: Annotated[int, Uint(8)]


@message(17)
class Peercred(Message):
    """NM -> D: whom to talk to, with credentials that the device checks itself; role 1 initiator, 2 responder, +4 by EDHOC.

    `kid_own` names which of its own credentials the peer is told, once there was a renewal (docs/decisions/0121); then
    cred_NC is there, too.
    """

    psid: Annotated[bytes, ID]
    role: Annotated[int, Uint(3)]
    cred_peer: Annotated[bytes, CREDENTIAL]
    cred_peerNM: Annotated[bytes, CREDENTIAL]
    cred_NC: Annotated[bytes, CREDENTIAL] | None = None
    kid_own: Annotated[bytes, ID] | None = None


@message(17)
class PeercredCompact(Message):
    """NM -> D: whom to talk to, on the word of the device's own NM."""

    psid: Annotated[bytes, ID]
    role: Annotated[int, Uint(2)]
    digest: Annotated[bytes, HASH]
    E1: Annotated[bytes, POINT]
    E2: Annotated[bytes, POINT]
    kid_NM: Annotated[bytes, ID]
    pk_NM: Annotated[bytes, POINT]
    status_epoch: Annotated[int, Uint()]
    kid_own: Annotated[bytes, ID] | None = None


@message(19)
class Xcred(Message):
    """NM1 <-> NM2: my device's credential. The initiator's manager names dev_id_2, the other leaves it empty.

    `flags` repeats those of SESSREQ when they are not 0 (docs/decisions/0004).
    """

    psid: Annotated[bytes, ID]
    cred: Annotated[bytes, CREDENTIAL]
    dev_id_2: Annotated[bytes, OneOf((0, 8))]
    status_epoch: Annotated[int, Uint()]
    kappa: Annotated[bytes, KAPPA]
    flags: Annotated[int, Uint(8)] | None = None


@message(24)
class Shreq(Message):
    """D -> NM: the managers' shares for this session, please."""

    psid: Annotated[bytes, ID]
    kid_I: Annotated[bytes, ID]
    kid_R: Annotated[bytes, ID]


@message(25)
class Shresp(Message):
    """NM -> D: the own manager's share, the foreign manager's sealed and signed one, and in the PQ profile kappa_1, kappa_2."""

    psid: Annotated[bytes, ID]
    own_share: Annotated[bytes, POINT]
    share: Annotated[Sign1, InlineSign1(kid=True)]
    kappa1: Annotated[bytes, Octets(32)] | None = None
    kappa2: Annotated[bytes, Octets(32)] | None = None


@message(28)
class Revoke(Message):
    """D -> NM: this session, or the credential behind it, is not to be trusted any more."""

    psid: Annotated[bytes, ID]
    key_id: Annotated[bytes, ID]
    reason: Annotated[int, REASON]
    kid_accused: Annotated[bytes, ID]
    ctr: Annotated[int, Uint()]


@message(30)
class Revnote(Message):
    """NM -> NM, device, NC: signed word that a session is dead."""

    envelope: Annotated[Sign1, InlineSign1(kid=True)]


@body
class RevnoteClaims(Body):
    psid: Annotated[bytes, ID]
    key_id: Annotated[bytes, ID]
    reason: Annotated[int, REASON]
    kid_accused: Annotated[bytes, ID]
    ts: Annotated[int, Uint()]


# ------------------------------------------------------------------ between the two devices


@message(20)
class Auth1(Message):
    """A1, I -> R: (5) and (6) under R's (E1, E2), and the ephemeral X_I."""

    psid: Annotated[bytes, ID]
    suite: Annotated[int, Uint(8)]
    X_I: Annotated[bytes, POINT]
    C1R: Annotated[bytes, POINT]
    C2R: Annotated[bytes, POINT]


@message(21)
class Auth2(Message):
    """A2, R -> I: the same towards I, and tagR which proves that R recovered N_I."""

    psid: Annotated[bytes, ID]
    X_R: Annotated[bytes, POINT]
    C1I: Annotated[bytes, POINT]
    C2I: Annotated[bytes, POINT]
    tagR: Annotated[bytes, MAC]


@message(22)
class Keyreq(Message):
    """A3, I -> R: AEAD of the raw point a_D1 V1."""

    psid: Annotated[bytes, ID]
    ct: Annotated[bytes, sealed(lambda s: s.point)]


@message(23)
class Keyresp(Message):
    """A4, R -> I: AEAD of the raw point a_D2 V2."""

    psid: Annotated[bytes, ID]
    ct: Annotated[bytes, sealed(lambda s: s.point)]


@message(26)
class Fin1(Message):
    psid: Annotated[bytes, ID]
    tag: Annotated[bytes, MAC]


@message(27)
class Fin2(Message):
    psid: Annotated[bytes, ID]
    tag: Annotated[bytes, MAC]


@message(29)
class Close(Message):
    """I <-> R: I have erased this session."""

    psid: Annotated[bytes, ID]
    tag: Annotated[bytes, MAC]


@message(31)
class Srec(Message):
    """I <-> R: application data under the session key (Triad-1 2.8)."""

    psid: Annotated[bytes, ID]
    seq: Annotated[int, Uint()]
    ct: Annotated[bytes, Octets(8, MAX_RECORD + TAG)]


@message(64)
class Edhoc1(Message):
    """I -> R: message_1 of EDHOC, in the place of A1 (Triad-1 1.17)."""

    psid: Annotated[bytes, ID]
    edhoc: Annotated[bytes, Octets(1, MAX_EDHOC)]


@message(65)
class Edhoc2(Message):
    """R -> I: message_2, in the place of A2."""

    psid: Annotated[bytes, ID]
    edhoc: Annotated[bytes, Octets(1, MAX_EDHOC)]


@message(66)
class Edhoc3(Message):
    """I -> R: message_3 with the initiator's share, in the place of A3."""

    psid: Annotated[bytes, ID]
    edhoc: Annotated[bytes, Octets(1, MAX_EDHOC)]


@message(67)
class Edhoc4(Message):
    """R -> I: message_4 with the responder's share, in the place of A4."""

    psid: Annotated[bytes, ID]
    edhoc: Annotated[bytes, Octets(1, MAX_EDHOC)]


# ------------------------------------------------------------------ between the two managers (NMAUTH)


@message(20, max_size=cbor.MAX_SIZE_LARGE)
class NmAuth1(Message):
    """A1 of NMAUTH: carries the initiator's credential; `ct_kappa` is empty outside the post-quantum profile."""

    psid: Annotated[bytes, ID]
    suite: Annotated[int, Uint(8)]
    X_I: Annotated[bytes, POINT]
    C1R: Annotated[bytes, POINT]
    C2R: Annotated[bytes, POINT]
    cred_I: Annotated[bytes, CREDENTIAL]
    ct_kappa: Annotated[bytes, OneOf((0, 1168))]


@message(21, max_size=cbor.MAX_SIZE_LARGE)
class NmAuth2(Message):
    """A2 of NMAUTH."""

    psid: Annotated[bytes, ID]
    X_R: Annotated[bytes, POINT]
    C1I: Annotated[bytes, POINT]
    C2I: Annotated[bytes, POINT]
    cred_R: Annotated[bytes, CREDENTIAL]
    ct_kappa: Annotated[bytes, OneOf((0, 1168))]
    tagR: Annotated[bytes, MAC]


@message(22)
class NmAuth3(Message):
    """A3 of NMAUTH: AEAD of nothing."""

    psid: Annotated[bytes, ID]
    ct: Annotated[bytes, Octets(TAG)]
