"""Two devices whose session is real, one of them serving on loopback, for clients that we did not write.

The keys come from the product's engines in a simulated world of two operators; what the responder serves, and how its
doors follow its sessions, is the product's own composition.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keymote.device import export
from keymote.device.app.serving import open_dtls
from keymote.device.node import DeviceNode
from keymote.engine.exports import PskForm, psk_identity
from keymote.engine.faces import KeyReady, RevokeDevice, SessionClosed, enrolment_of, session_of
from keymote.host.resources import Answered, Asked
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.transports.coap.application import CoapApplication
from keymote.transports.coap.endpoint import CoapEndpoint


@dataclass
class Outcome:
    """How a foreign program ended."""

    code: int
    said: bytes
    complained: bytes


@dataclass
class Exported:
    """A session as its initiator gives it to other software."""

    psid: bytes
    directory: Path
    identity: str
    key: bytes

    @property
    def credentials(self) -> Path:
        return self.directory / "credentials.json"


@dataclass
class Street:
    """`d2` serves what it measures to whoever holds the key of one of its sessions with `d1`."""

    scene: Scene
    directory: Path
    node: DeviceNode
    endpoint: CoapEndpoint
    resources: CoapApplication
    degrees: list[str] = field(default_factory=lambda: ["21.5 C"])
    asked: list[Asked] = field(default_factory=list)
    dtls: str = ""

    @property
    def coap(self) -> str:
        return self.endpoint.address

    def temperature(self, asked: Asked) -> Answered:
        self.asked.append(asked)
        return Answered(self.degrees[0].encode(), 0)

    def pair(self, form: PskForm = PskForm.TEXT32) -> Exported:
        """Open a session in the simulated world and export the initiator's side in every form."""
        psid = self.scene.open("d1", "d2", fast=bool(len(self.node.sessions)))
        ours, theirs = self._ready("d1", psid), self._ready("d2", psid)
        self.node.reported(session_of(psid), theirs)
        directory = self.directory / psid.hex()
        files = {
            **export.aiocoap_files(psid, ours.keys, initiator=True, peer=self.coap, directory=directory),
            **export.libcoap_files(psid, ours.keys, form),
        }
        export.write_files(directory, files)
        identity = (directory / "psk.identity").read_text()
        assert identity == psk_identity(psid, theirs.keys)
        return Exported(psid, directory, identity, (directory / "psk.key").read_bytes())

    def export_for_wireshark(self, psid: bytes, form: PskForm = PskForm.TEXT32) -> Path:
        """Give the serving side's keys to one who reads along."""
        directory = self.directory / f"wireshark-{psid.hex()}"
        export.write_files(directory, export.wireshark_files(psid, self.node.sessions[psid].keys(), form))
        return directory

    def revoke_d1(self) -> int:
        """Let the operator of `d1` revoke it; tell `d2`'s node what its engine reports; return how many sessions ended."""
        before = len(self.scene.sim.heard("d2", SessionClosed))
        self.scene.sim.command("nm1", enrolment_of(identity("d1")), RevokeDevice(2))
        self.scene.sim.run_for(5.0)
        ended = self.scene.sim.heard("d2", SessionClosed)[before:]
        for report in ended:
            assert report.revoked
            self.node.reported(session_of(report.psid), report)
        return len(ended)

    def _ready(self, name: str, psid: bytes) -> KeyReady:
        ready = self.scene.ready(name, psid)
        assert ready is not None
        return ready


@dataclass
class _Runtime:
    """What a node needs of its runtime here: the resources on its socket."""

    address: str
    served: CoapApplication
    membership: None = None

    def groups(self) -> tuple[()]:
        return ()

    def resources(self) -> CoapApplication:
        return self.served


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    scene = two_operators(b"the street")
    async with AsyncExitStack() as opened:  # also where the rest fails: what is left open is blamed on a later test
        endpoint = await CoapEndpoint.open(("127.0.0.1", 0), lambda *_: None)
        opened.callback(endpoint.close)
        resources = CoapApplication.mounted(endpoint)
        opened.push_async_callback(resources.close)
        node = DeviceNode()
        node.attach(_Runtime(endpoint.address, resources))
        node.doors.attach_resources(resources)
        dtls = await open_dtls(("127.0.0.1", 0), node.doors, resources)
        opened.callback(dtls.close)
        node.doors.attach_connections(dtls)
        street = Street(scene, tmp_path, node, endpoint, resources, dtls=dtls.address)
        resources.serve("temperature", street.temperature, observable=True)
        resources.serve("about", lambda _asked: Answered(b"a meter", 0), unprotected=True)
        yield street


@pytest.fixture
def run(program: Callable[[str], str], tmp_path: Path):
    """Return a function that runs a foreign program to its end, at most 20 s."""

    async def to_its_end(name: str, *arguments: str) -> Outcome:
        process = await asyncio.create_subprocess_exec(
            program(name),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
        )
        try:
            async with asyncio.timeout(20):
                said, complained = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Outcome(process.returncode, said, complained)

    return to_its_end
