"""Every packet type passes the gateway; and tshark, which shares no code with ours, reads all that was on the air."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from sn_world import GATEWAY, World

from keymote.engine.mqttsn.faces import Settings
from keymote.wire import mqttsn
from keymote.wire.mqttsn import (
    Advertise,
    Connect,
    Disconnect,
    Forward,
    GwInfo,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    SearchGw,
    Subscribe,
    Unsubscribe,
    WillMsg,
    WillMsgUpd,
    WillTopic,
    WillTopicUpd,
)
from keymote.wire.mqttsn_fields import ReturnCode, ShortTopic, TopicName

OK = ReturnCode.ACCEPTED
PORT = 1883


def everything() -> World:
    """A day in which everything is said once, or oftener."""
    world = World(Settings(advertise_s=900))
    world.send("mote", SearchGw(1), GwInfo(7), Connect("mote", 60, will=True), WillTopic("w/7", 1), WillMsg(b"gone"))
    world.send(
        "mote", WillTopicUpd("w/8"), WillMsgUpd(b"left"), Register(0, 1, "w/7/hr"), Subscribe(TopicName("w/#"), 2, 2)
    )
    world.send("mote", Publish(ShortTopic("hr"), b"72", 2, 3), Pubrel(3), Unsubscribe(TopicName("x"), 4))
    world.run()
    world.publish("w/7/new", b"one", 1)
    world.publish("w/7/new", b"two", 2)
    world.run()
    world.send("mote", Regack(2, 1, OK))
    world.run()
    world.send("mote", Puback(2, 2, OK))
    world.run()
    world.send("mote", Pubrec(3))
    world.run()
    world.send(
        "mote", Pubcomp(3), Publish(ShortTopic("hr"), b"73", 1, 5), Disconnect(60), Pingreq("mote"), Disconnect()
    )
    world.send("radio", Forward(1, b"node", Connect("far", 60).encode()))
    world.run()
    world.wire += [(GATEWAY, "all", data) for data in world.announced]
    return world


def test_SG23_every_packet_type_passes_the_gateway() -> None:
    world = everything()
    seen = {type(mqttsn.decode(data)) for _, _, data in world.wire}
    assert seen == set(mqttsn.kinds().values())
    assert world.gateway.tally == {"unexpected": 1}  # another gateway's GWINFO
    assert len(world.broker.acknowledged) == 2


@pytest.mark.peers
def test_SG23_tshark_reads_what_the_gateway_said(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    assert tshark is not None, "tshark is not installed: run `make peers`"
    said = [data for source, _, data in everything().wire if source == GATEWAY]
    file = tmp_path / "gateway.pcap"
    file.write_bytes(capture(said))
    ran = subprocess.run(
        [tshark, "-r", str(file), "-d", f"udp.port=={PORT},mqttsn", "-T", "json", "--no-duplicate-keys"],
        capture_output=True,
        timeout=50,
        check=True,
    )
    frames = [frame["_source"]["layers"] for frame in json.loads(ran.stdout)]
    assert len(frames) == len(said)
    assert not [frame for frame in frames if "_ws.malformed" in frame]
    kinds = {mqttsn.decode(data).kind for data in said}
    text = json.dumps(frames)
    for kind in kinds - {Forward.kind}:
        assert f'"mqttsn.msg.type": "{kind}"' in text or f'"mqttsn.msg.type": "0x{kind:02x}"' in text
    assert '"mqttsn.wireless.node.id"' in text
    assert kinds >= {Advertise.kind, GwInfo.kind, Register.kind, Publish.kind, Pubrel.kind}


def capture(payloads: list[bytes]) -> bytes:
    """Return a pcap of raw IPv4 packets (linktype 101) that carry UDP from our port."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)]
    for number, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", PORT, 40_000, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
        out.append(struct.pack("<IIII", number, 0, len(ip + udp), len(ip + udp)) + ip + udp)
    return b"".join(out)
