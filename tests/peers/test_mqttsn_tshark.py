"""tshark reads every MQTT-SN packet that we write: type, length, and the fields that it knows."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from keymote.wire import mqttsn
from keymote.wire.mqttsn import Packet
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, TopicId, TopicName

pytestmark = pytest.mark.peers

PORT = 1883
OK = ReturnCode.ACCEPTED
PACKETS: list[tuple[Packet, dict[str, str]]] = [
    (mqttsn.Advertise(7, 900), {"gw.id": "7", "adv.interv": "900"}),
    (mqttsn.SearchGw(1), {}),
    (mqttsn.GwInfo(7), {"gw.id": "7"}),
    (mqttsn.Connect("mote", 60, clean=False, will=True), {"client.id": "mote", "keep.alive": "60", "will": "1"}),
    (mqttsn.Connack(ReturnCode.CONGESTION), {"return.code": "1"}),
    (mqttsn.WillTopicReq(), {}),
    (mqttsn.WillTopic("w/7", 1, retain=True), {"will.topic": "w/7"}),
    (mqttsn.WillMsgReq(), {}),
    (mqttsn.WillMsg(b"gone"), {"will.msg": "gone"}),
    (mqttsn.Register(0, 258, "w/7/hr"), {"msg.id": "258", "topic": "w/7/hr"}),
    (mqttsn.Regack(9, 258, OK), {"topic.id": "9", "msg.id": "258", "return.code": "0"}),
    (
        mqttsn.Publish(TopicId(9), b"72", 1, 259, dup=True),
        {"topic.id": "9", "msg.id": "259", "pub.msg": "72", "dup": "1"},
    ),
    (mqttsn.Publish(Predefined(3), b"72", -1), {"topic.id": "3", "qos": "3", "topic.id.type": "1"}),
    (mqttsn.Publish(ShortTopic("hr"), b"72"), {"topic.id.type": "2"}),
    (mqttsn.Publish(TopicId(9), b"7" * 300), {"pub.msg": "7" * 300}),
    (mqttsn.Puback(9, 259, ReturnCode.INVALID_TOPIC_ID), {"topic.id": "9", "return.code": "2"}),
    (mqttsn.Pubcomp(1), {"msg.id": "1"}),
    (mqttsn.Pubrec(1), {"msg.id": "1"}),
    (mqttsn.Pubrel(1), {"msg.id": "1"}),
    (mqttsn.Subscribe(TopicName("w/#"), 5, 1), {"msg.id": "5", "topic.name.or.id": "w/#"}),
    (mqttsn.Suback(1, 9, 5, OK), {"topic.id": "9", "msg.id": "5"}),
    (mqttsn.Unsubscribe(TopicName("w/#"), 6), {"msg.id": "6", "topic.name.or.id": "w/#"}),
    (mqttsn.Unsuback(6), {"msg.id": "6"}),
    (mqttsn.Pingreq("mote"), {"client.id": "mote"}),
    (mqttsn.Pingresp(), {}),
    (mqttsn.Disconnect(10), {"sleep.timer": "10"}),
    (mqttsn.WillTopicUpd("w/8", 2), {"will.topic": "w/8"}),
    (mqttsn.WillTopicResp(OK), {"return.code": "0"}),
    (mqttsn.WillMsgUpd(b"left"), {"will.msg": "left"}),
    (mqttsn.WillMsgResp(ReturnCode.NOT_SUPPORTED), {"return.code": "3"}),
    (mqttsn.Forward(2, b"node", mqttsn.Pingreq().encode()), {"control.info": "2", "wireless.node.id": "1852793957"}),
]
"""A packet, and what tshark's fields (without `mqttsn.`) must say; of a forwarded one it shows the type inside."""


def capture(payloads: list[bytes]) -> bytes:
    """Return a pcap of raw IPv4 packets (linktype 101) that carry UDP to our port."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)]
    for number, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", 40_000, PORT, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
        out.append(struct.pack("<IIII", number, 0, len(ip + udp), len(ip + udp)) + ip + udp)
    return b"".join(out)


def test_SN05_tshark_reads_every_packet_type(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed: make peers")
    file = tmp_path / "sn.pcap"
    file.write_bytes(capture([packet.encode() for packet, _ in PACKETS]))
    ran = subprocess.run(
        [tshark, "-r", str(file), "-d", f"udp.port=={PORT},mqttsn", "-T", "json", "--no-duplicate-keys"],
        capture_output=True,
        timeout=50,
        check=True,
    )
    frames = json.loads(ran.stdout)
    assert len(frames) == len(PACKETS)
    assert {type(packet) for packet, _ in PACKETS} == set(mqttsn.kinds().values())
    for (packet, expected), frame in zip(PACKETS, frames, strict=True):
        layers = frame["_source"]["layers"]
        assert "_ws.malformed" not in layers, packet
        found = flat(layers["mqttsn"])
        shown = mqttsn.Pingreq.kind if isinstance(packet, mqttsn.Forward) else packet.kind
        assert comparable(found["mqttsn.msg.type"]) == str(shown), packet
        for name, value in expected.items():
            assert comparable(found.get(f"mqttsn.{name}")) == value, (packet, name, found)


def flat(tree: object) -> dict[str, object]:
    """Return the leaves of a dissection by their names."""
    found: dict[str, object] = {}
    if isinstance(tree, list):
        for branch in tree:
            found |= flat(branch)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
                found |= flat(value)
            else:
                found[name] = value
    return found


def comparable(value: object) -> str | None:
    """Return a value of tshark without the forms in which it writes numbers."""
    if not isinstance(value, str):
        return None
    return str(int(value, 16)) if value.startswith("0x") else value
