"""Guards of hand-over: a sealed context, a key for one broker, a list of brokers, counts, limits, registration."""

from typing import Any

import pytest

from keymote.crypto.hpke import OVERHEAD, HpkeX25519
from keymote.crypto.secret import Secret
from keymote.engine.handover import client, home, home_cell, visit_cell
from keymote.engine.handover.faces import AgentTally
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home_states import Held, Here, HomeCell
from keymote.lab.attacks import topic_agents, topic_brokers


def contexts_in_the_clear(patch: pytest.MonkeyPatch) -> None:
    """Hand contexts over as they are."""
    patch.setattr(HpkeX25519, "seal", lambda _self, _public, _info, plaintext: bytes(OVERHEAD) + plaintext)
    patch.setattr(HpkeX25519, "open", lambda _self, _seed, _info, ciphertext: ciphertext[OVERHEAD:])


def one_key_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Hand over the key that the client has at home."""
    for module in (client, home):
        patch.setattr(module, "visited_key", lambda K_home, _request, _nV: K_home)


def no_list(patch: pytest.MonkeyPatch) -> None:
    """Know every broker that there is, as "visited broker" reads."""
    everybody = (*topic_agents.LISTED, topic_agents.ROGUE)
    known = {topic_agents.id_of(name): topic_agents.listed(name) for name in everybody}
    patch.setattr(Federation, "broker", lambda _self, broker_id: known[broker_id])


def any_request(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(home, "equal", lambda _a, _b: True)


def any_count(patch: pytest.MonkeyPatch) -> None:
    """Hand over whatever the count of the request is."""
    hear_pull = home_cell.hear_pull

    def heard(desk: Any, federation: Any, K_home: Any, _last: int, *rest: Any) -> Any:
        return hear_pull(desk, federation, K_home, -1, *rest)

    patch.setattr(home_cell, "hear_pull", heard)


def no_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AgentTally, "may_forward", lambda *_: True)
    patch.setattr(visit_cell, "MOST_BUFFERED", 1 << 30)


def strangers_welcome(patch: pytest.MonkeyPatch) -> None:
    """Take whoever names this broker for one of its clients, with the key that motes have when they are made."""
    hand_over = home_cell._Steps._hand_over  # noqa: SLF001  # a guard is private by its nature
    held = Held(topic_brokers.STRANGER, bytes(8), Secret(bytes(32)), (), 1 << 40, (), bytes(16), 0, Here())

    def handed(self: Any, cell: Any, *rest: Any) -> Any:
        return hand_over(self, cell or HomeCell(held=held), *rest)

    patch.setattr(home_cell._Steps, "_hand_over", handed)  # noqa: SLF001
