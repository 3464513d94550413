"""Accounts of a Mosquitto broker by its dynamic security plugin: JSON commands on a control topic, no restart.

What the broker would do by default is closed first: whoever may enter receives nothing that no rule gives it, every client
id is bound to its user, and the one unbound account, which takes over sessions for `drain`, has a machine's password and
belongs on a listener that only this machine reaches. The plugin hashes passwords with few rounds, which is enough for 256
random bits and for nothing else; its file must be readable by the broker's user alone.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from keymote.crypto.secret import Secret
from keymote.errors import Unavailable
from keymote.transports.mqtt.broker_face import UNVERIFIED, Account, Carry
from keymote.transports.mqtt.packets import LEVEL_5, Delivery
from keymote.transports.mqtt.session import ANSWER_S, MqttSession

ADMIN: Final = "keymote-agent"
MOVER: Final = "keymote-mover"
SESSION_QOS: Final = 2
DRAIN_S: Final = 30.0
_CONTROL: Final = "$CONTROL/dynamic-security/v1"
_ANSWERS: Final = f"{_CONTROL}/response"
_ROUNDS: Final = 101
"""Of PBKDF2, as the plugin itself makes them."""
_QUIET_PINGS: Final = 2
_CLOSED: Final = {"publishClientSend": False, "publishClientReceive": False, "subscribe": False, "unsubscribe": True}


class Standing:
    """A connection at the management listener that is made again when it has ended, as when the broker was restarted."""

    def __init__(
        self, address: tuple[str, int], client_id: str, user: str, password: Secret, hears: Sequence[str] = ()
    ) -> None:
        self._address, self._names, self._password, self._hears = address, (client_id, user), password, hears
        self._session: MqttSession | None = None
        self._turn = asyncio.Lock()

    async def session(self) -> MqttSession:
        """Return the connection; CallerFault when the broker refuses the agent, Unavailable when it is not there."""
        async with self._turn:
            if self._session is None or self._session.ended:
                password = self._password.expose().hex()
                session = await MqttSession.open(self._address, *self._names, password, clean=True, level=LEVEL_5)
                await session.subscribe(self._hears, 1)
                self._session = session
            return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class DynamicSecurity:
    """The plugin's administrator; commands are answered in order."""

    def __init__(self, address: tuple[str, int], password: Secret) -> None:
        self._standing = Standing(address, ADMIN, ADMIN, password, [_ANSWERS])
        self._turn = asyncio.Lock()

    async def run(self, *commands: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the answers to commands, one each; what the plugin refuses stands in its `error`."""
        async with self._turn:
            mark = secrets.token_hex(8)
            sent = [{**command, "correlationData": mark} for command in commands]
            session = await self._standing.session()
            await session.publish(Delivery(_CONTROL, json.dumps({"commands": sent}).encode(), 1, False, 0))
            answers: list[Mapping[str, Any]] = []
            try:
                async with asyncio.timeout(ANSWER_S):
                    while len(answers) < len(sent):
                        said = await session.deliveries.get()
                        await session.acknowledge(said)
                        found = json.loads(said.payload).get("responses", [])
                        answers += [each for each in found if each.get("correlationData") == mark]
            except TimeoutError as error:
                raise Unavailable(
                    "the broker's dynamic security does not answer", do="is its plugin loaded?"
                ) from error
            return answers

    async def close(self) -> None:
        await self._standing.close()


class MosquittoFace:
    """A Mosquitto broker; `address` is for clients, `management` is the listener that only this machine reaches."""

    def __init__(
        self,
        address: tuple[str, int],
        management: tuple[str, int],
        admin: DynamicSecurity,
        agent: Standing,
        mover: Secret,
    ) -> None:
        self.address = address
        self._management = management
        self._admin = admin
        self._agent = agent
        self._mover = mover

    @classmethod
    async def start(
        cls, address: tuple[str, int], management: tuple[str, int], password: Secret, mover: Secret
    ) -> Self:
        """Connect, and close what the plugin leaves open by default; errors as `Standing.session`."""
        admin = DynamicSecurity(management, password)
        acls = [{"acltype": name, "allow": allow} for name, allow in _CLOSED.items()]
        await admin.run({"command": "setDefaultACLAccess", "acls": acls})
        agent = Standing(management, f"{ADMIN}-publisher", MOVER, mover)
        await agent.session()
        return cls(address, management, admin, agent, mover)

    async def open(self, account: Account) -> None:
        role, name = _role(account.name), account.name
        rules = {
            "acls": [
                *_rules("publishClientSend", account.publish),
                *_rules("subscribePattern", account.subscribe),
                *_rules("publishClientReceive", account.subscribe),
            ]
        }
        made = await self._admin.run(
            {"command": "createRole", "rolename": role},
            {"command": "modifyRole", "rolename": role, **rules},
            {
                "command": "createClient",
                "username": name,
                "clientid": name,
                "password": account.password,
                "roles": [{"rolename": role}],
            },
        )
        if "error" in made[2]:
            made = await self._admin.run(
                {"command": "setClientPassword", "username": name, "password": account.password},
                {"command": "enableClient", "username": name},  # an agent that died in `drain` left it disabled
            )
        refused = [answer["error"] for answer in made[-2:] if "error" in answer and answer["command"] != "modifyRole"]
        if refused:
            raise Unavailable(f"the broker opens no account: {refused[0]}", do="see its log")
        if account.session and account.subscribe:
            session = await self._as_mover(name, clean=False)
            try:
                await session.subscribe(account.subscribe, SESSION_QOS)
            finally:
                await session.close()

    async def remove(self, name: str) -> None:
        await self._admin.run(
            {"command": "deleteClient", "username": name}, {"command": "deleteRole", "rolename": _role(name)}
        )
        session = await self._as_mover(name, clean=True)  # forgets the session
        await session.close()

    async def publish(self, message: Delivery, *, unverified: bool = False) -> None:
        session = await self._agent.session()
        await session.publish(message, [UNVERIFIED] if unverified else [])

    async def drain(self, name: str, carry: Carry) -> int:
        """Take the session over, hand on what comes, and stop when two pings in a row bring nothing more."""
        await self._admin.run({"command": "disableClient", "username": name})  # or it takes its session back
        session = await self._as_mover(name, clean=False)
        carried = quiet = 0
        try:
            async with asyncio.timeout(DRAIN_S):
                while quiet < _QUIET_PINGS:
                    await session.ping()
                    batch = [session.deliveries.get_nowait() for _ in range(session.deliveries.qsize())]
                    quiet = 0 if batch else quiet + 1
                    if batch:
                        await carry([each._replace(packet_id=0) for each in batch])
                        carried += len(batch)
                        for each in batch:
                            await session.acknowledge(each)
        except TimeoutError as error:
            raise Unavailable(
                f"the queue of a client is not empty after {DRAIN_S:.0f} s", do="it is moved later"
            ) from error
        finally:
            await session.close()
            with contextlib.suppress(Unavailable):
                await self._admin.run({"command": "enableClient", "username": name})
        return carried

    async def close(self) -> None:
        await self._agent.close()
        await self._admin.close()

    async def _as_mover(self, name: str, *, clean: bool) -> MqttSession:
        return await MqttSession.open(self._management, name, MOVER, self._mover.expose().hex(), clean=clean)


def _role(name: str) -> str:
    return f"keymote-{name}"


def _rules(kind: str, filters: Sequence[str]) -> list[dict[str, Any]]:
    return [{"acltype": kind, "topic": each, "priority": 0, "allow": True} for each in filters]


# ------------------------------------------------------------------ setting a broker up


def document(password: Secret, mover: Secret) -> bytes:
    """Return dynsec.json of a broker behind an agent: its two accounts, and everything else closed. It belongs in a 0600 file."""
    everything = [
        {"acltype": kind, "topic": "#", "priority": 0, "allow": True}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern")
    ]
    control = [
        {"acltype": kind, "topic": f"{_CONTROL}/#", "priority": 0, "allow": True}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")
    ]
    content = {
        "defaultACLAccess": _CLOSED,
        "clients": [
            {"username": ADMIN, "clientid": ADMIN, "roles": [{"rolename": "admin"}], **_hashed(password)},
            {"username": MOVER, "roles": [{"rolename": "mover"}], **_hashed(mover)},
        ],
        "roles": [{"rolename": "admin", "acls": control}, {"rolename": "mover", "acls": everything}],
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def configuration(folder: Path, clients: tuple[str, int], management: tuple[str, int]) -> str:
    """Return mosquitto.conf for a broker whose files are in `folder`; `management` is an address of this machine alone."""
    return f"""# Written by keymote agent init. Messages of clients that are away are kept, and kept on disk.
persistence true
persistence_location {folder}/
max_queued_messages 100000
set_tcp_nodelay true
allow_anonymous false
plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so
plugin_opt_config_file {folder / "dynsec.json"}
listener {clients[1]} {clients[0]}
listener {management[1]} {management[0]}
"""


def _hashed(password: Secret) -> dict[str, Any]:
    salt = secrets.token_bytes(12)
    made = hashlib.pbkdf2_hmac("sha512", password.expose().hex().encode(), salt, _ROUNDS)
    return {"password": b64encode(made).decode(), "salt": b64encode(salt).decode(), "iterations": _ROUNDS}
