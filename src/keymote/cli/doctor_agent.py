"""What `keymote doctor` looks at for a broker's agent: its place in the list of brokers, the others, its own broker."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from keymote.agent.app.directory import list_in_force
from keymote.agent.app.identity import Identity, address_of
from keymote.cli import doctor_checks as checks
from keymote.cli.doctor_checks import Finding
from keymote.engine.handover.listing import Listed
from keymote.errors import CallerFault, Unavailable
from keymote.transports.control import ControlClient
from keymote.wire.federation import BrokerCard

_CARRY = "carry the newest: keymote manager broker list --out brokers.json; keymote agent update brokers.json"


def findings(folder: Path, identity: Identity) -> Iterator[Finding]:
    """Look at what does not hang on the agent's keys, whether it runs or not."""
    try:
        listed = list_in_force(folder, identity)
    except CallerFault as fault:
        yield Finding("list of brokers", ok=False, what=fault.what, do=fault.do)
    else:
        yield listed_here(folder, identity, listed)
        for broker_id, card in listed.cards.items():
            if broker_id.hex() != identity.broker_id:
                yield other_agent(broker_id, card)
    if _runs(folder):
        yield Finding("agent", ok=True, what=f"{identity.name} runs")
        return
    yield checks.port("udp", *address_of(identity.coap))
    yield checks.port("tcp", *address_of(identity.agent))
    if identity.broker == "embedded":
        yield checks.port("tcp", *address_of(identity.mqtt))
    else:
        yield from (broker(folder, address) for address in (identity.mqtt, identity.management))


def listed_here(folder: Path, identity: Identity, listed: Listed) -> Finding:
    """The list in force must name this broker, under the certificate that its agent shows."""
    version, card = listed.federation.version, listed.cards.get(bytes.fromhex(identity.broker_id))
    if card is None:
        why = f"list {version} does not name broker {identity.broker_id}: the others let it in no more"
        return Finding("list of brokers", ok=False, what=why, do=f"was it removed? If not, {_CARRY}")
    if ssl.PEM_cert_to_DER_cert((folder / "tls.pem").read_text()) != card.certificate:
        why = f"list {version} names another certificate than {folder / 'tls.pem'}"
        return Finding("list of brokers", ok=False, what=why, do="keymote manager broker add CARD, then " + _CARRY)
    what = f"list {version} of manager {identity.nm_id} names {len(listed.cards)} brokers, this one among them"
    return Finding("list of brokers", ok=True, what=what)


def other_agent(broker_id: bytes, card: BrokerCard) -> Finding:
    """Another broker's agent must answer, and show the certificate of its card."""
    pem = checks.served_certificate(card.agent)
    if isinstance(pem, Finding):
        return replace(pem, check="other agent", what=f"the agent of broker {broker_id.hex()}: {pem.what}")
    if ssl.PEM_cert_to_DER_cert(pem) != card.certificate:
        why = f"{card.agent} does not show the certificate of broker {broker_id.hex()}"
        return Finding("other agent", ok=False, what=why, do=f"does something else listen there? If not, {_CARRY}")
    return Finding("other agent", ok=True, what=f"the agent of broker {broker_id.hex()} answers at {card.agent}")


def broker(folder: Path, address: str) -> Finding:
    """A Mosquitto must listen where the agent was told."""
    try:
        socket.create_connection(address_of(address), checks.PATIENCE_S).close()
    except OSError as error:
        do = f"start it: mosquitto -c {folder / 'mosquitto.conf'}"
        return Finding("broker", ok=False, what=f"nobody answers at {address}: {error}", do=do)
    return Finding("broker", ok=True, what=f"a broker listens at {address}")


def _runs(folder: Path) -> bool:
    try:
        with ControlClient(folder / "control.sock") as agent:
            agent.ask("status")
    except Unavailable:
        return False
    return True
