"""Brokers that a client has left: each is told to let it go, again until it has answered or the client's life is over (HO-11)."""

from typing import Final

from keymote.crypto.secret import equal
from keymote.engine.base import Output, Send
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home_states import MOST_NOTICES, Away, Held, Notice
from keymote.engine.handover.keys import release, released_tag
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.handover import Between, HoReleased

AGAIN_S: Final = 30.0
"""Pause before a broker that did not answer is told again."""
_SIZES: Final = sizes_of(1)
Notices = tuple[Notice, ...]


def with_release(notices: Notices, held: Held, place: Away, following: bytes) -> tuple[Notices, Notice]:
    """Return the notices with one to the broker that served the client until now, and that one (decision 0197)."""
    message = release(place.K_v, held.client_id, place.ho_ctr, following)
    notice = Notice(place.vis, place.ho_ctr, place.K_v, Between(held.client_id, message).encode(), held.expires)
    return (*(each for each in notices if each.ho_ctr != place.ho_ctr), notice)[-MOST_NOTICES:], notice


def told(notices: Notices, federation: Federation) -> list[Output]:
    """Return what is sent to those of the brokers that are in the list."""
    found = [(notice, federation.brokers.get(notice.to)) for notice in notices]
    return [Send(broker.peer, notice.data, notice.ho_ctr) for notice, broker in found if broker is not None]


def without_answered(notices: Notices, data: bytes) -> Notices:
    """Return the notices but the one that HO_RELEASED answers; E_AUTH when it answers none."""
    heard = HoReleased.decode(data, _SIZES)
    for notice in notices:
        if notice.ho_ctr == heard.ho_ctr and equal(released_tag(notice.K_v, heard), heard.tag):
            return tuple(each for each in notices if each is not notice)
    raise PeerFault(ErrorCode.E_AUTH, "HO_RELEASED of a stay that nobody ended")
