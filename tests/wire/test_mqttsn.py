"""MQTT-SN 1.2: golden bytes of every packet type, written out from the text's tables, and what must be refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.errors import ErrorCode, PeerFault
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Packet, decode
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, TopicId, TopicName

OK = ReturnCode.ACCEPTED
GOLDEN: dict[str, tuple[Packet, str]] = {
    "ADVERTISE": (mqttsn.Advertise(7, 900), "05 00 07 0384"),
    "SEARCHGW": (mqttsn.SearchGw(1), "03 01 01"),
    "GWINFO of a gateway": (mqttsn.GwInfo(7), "03 02 07"),
    "GWINFO of a client": (mqttsn.GwInfo(7, bytes([127, 0, 0, 1])), "07 02 07 7f000001"),
    "CONNECT": (mqttsn.Connect("mote", 60), "0a 04 04 01 003c 6d6f7465"),
    "CONNECT, will, old session": (mqttsn.Connect("m", 60, clean=False, will=True), "07 04 08 01 003c 6d"),
    "CONNACK": (mqttsn.Connack(ReturnCode.CONGESTION), "03 05 01"),
    "WILLTOPICREQ": (mqttsn.WillTopicReq(), "02 06"),
    "WILLTOPIC": (mqttsn.WillTopic("w/7", 1, retain=True), "06 07 30 772f37"),
    "WILLTOPIC, none": (mqttsn.WillTopic(""), "02 07"),
    "WILLMSGREQ": (mqttsn.WillMsgReq(), "02 08"),
    "WILLMSG": (mqttsn.WillMsg(b"gone"), "06 09 676f6e65"),
    "REGISTER": (mqttsn.Register(0, 258, "w/7/hr"), "0c 0a 0000 0102 772f372f6872"),
    "REGACK": (mqttsn.Regack(9, 258, OK), "07 0b 0009 0102 00"),
    "PUBLISH": (mqttsn.Publish(TopicId(9), b"72", 1, 259), "09 0c 20 0009 0103 3732"),
    "PUBLISH, QoS 2 again": (mqttsn.Publish(TopicId(9), b"", 2, 1, retain=True, dup=True), "07 0c d0 0009 0001"),
    "PUBLISH, QoS -1": (mqttsn.Publish(Predefined(3), b"72", -1), "09 0c 61 0003 0000 3732"),
    "PUBLISH, short": (mqttsn.Publish(ShortTopic("hr"), b"72"), "09 0c 02 6872 0000 3732"),
    "PUBACK": (mqttsn.Puback(9, 259, ReturnCode.INVALID_TOPIC_ID), "07 0d 0009 0103 02"),
    "PUBCOMP": (mqttsn.Pubcomp(1), "04 0e 0001"),
    "PUBREC": (mqttsn.Pubrec(1), "04 0f 0001"),
    "PUBREL": (mqttsn.Pubrel(1), "04 10 0001"),
    "SUBSCRIBE": (mqttsn.Subscribe(TopicName("w/#"), 5, 1), "08 12 20 0005 772f23"),
    "SUBSCRIBE, predefined": (mqttsn.Subscribe(Predefined(3), 5, 2, dup=True), "07 12 c1 0005 0003"),
    "SUBSCRIBE, short": (mqttsn.Subscribe(ShortTopic("hr"), 5), "07 12 02 0005 6872"),
    "SUBACK": (mqttsn.Suback(1, 9, 5, OK), "08 13 20 0009 0005 00"),
    "UNSUBSCRIBE": (mqttsn.Unsubscribe(TopicName("w/#"), 6), "08 14 00 0006 772f23"),
    "UNSUBSCRIBE, predefined": (mqttsn.Unsubscribe(Predefined(3), 6), "07 14 01 0006 0003"),
    "UNSUBACK": (mqttsn.Unsuback(6), "04 15 0006"),
    "PINGREQ": (mqttsn.Pingreq(), "02 16"),
    "PINGREQ of a sleeper": (mqttsn.Pingreq("mote"), "06 16 6d6f7465"),
    "PINGRESP": (mqttsn.Pingresp(), "02 17"),
    "DISCONNECT": (mqttsn.Disconnect(), "02 18"),
    "DISCONNECT to sleep": (mqttsn.Disconnect(10), "04 18 000a"),
    "WILLTOPICUPD": (mqttsn.WillTopicUpd("w/8", 2), "06 1a 40 772f38"),
    "WILLTOPICUPD, none": (mqttsn.WillTopicUpd(""), "02 1a"),
    "WILLTOPICRESP": (mqttsn.WillTopicResp(OK), "03 1b 00"),
    "WILLMSGUPD": (mqttsn.WillMsgUpd(b"left"), "06 1c 6c656674"),
    "WILLMSGRESP": (mqttsn.WillMsgResp(ReturnCode.NOT_SUPPORTED), "03 1d 03"),
    "FORWARD": (mqttsn.Forward(2, b"node", b"\x02\x16"), "07 fe 02 6e6f6465 02 16"),
}
"""Name -> a packet and its bytes."""
every = pytest.mark.parametrize("name", GOLDEN)


def refused(data: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        decode(data)
    assert fault.value.code is ErrorCode.E_FORMAT


@every
def test_SN01_golden_bytes_both_ways(name: str) -> None:
    packet, text = GOLDEN[name]
    data = bytes.fromhex(text)
    assert packet.encode() == data
    assert decode(data) == packet


def test_SN01_every_type_of_the_text_has_golden_bytes() -> None:
    types = [*range(0x03), *range(0x04, 0x11), *range(0x12, 0x19), *range(0x1A, 0x1E), 0xFE]
    assert sorted(mqttsn.kinds()) == types
    assert {type(packet) for packet, _ in GOLDEN.values()} == set(mqttsn.kinds().values())


@every
def test_SN02_a_packet_may_say_its_length_in_three_bytes(name: str) -> None:
    packet, text = GOLDEN[name]
    data = bytes.fromhex(text)
    longer = b"\x01" + (data[0] + 2).to_bytes(2, "big") + data[1:]
    assert decode(longer) == packet


@pytest.mark.parametrize(("size", "head"), [(248, "ff0c"), (249, "0101020c"), (2000, "0107d9" + "0c")])
def test_SN02_the_length_has_three_bytes_from_256_on(size: int, head: str) -> None:
    data = mqttsn.Publish(TopicId(1), bytes(size)).encode()
    assert data.hex().startswith(head)
    assert len(data) == size + (7 if size < 249 else 9)
    assert decode(data) == mqttsn.Publish(TopicId(1), bytes(size))


@every
def test_SN03_truncated_and_longer_datagrams_are_refused(name: str) -> None:
    _, text = GOLDEN[name]
    data = bytes.fromhex(text)
    for end in range(len(data)):
        refused(data[:end])
    refused(data + b"\0")
    refused(data + data)


@pytest.mark.parametrize(
    "text",
    ["", "00", "01", "0100", "010000", "010002", "010003", "02 03", "02 11", "02 19", "02 1e", "02 fd", "02 ff", "01ff ff 16",
     "03 05 04", "04 05 00 00", "02 05", "03 06 00", "07 04 04 02 003c 6d", "06 04 04 01 003c",
     "1e 04 04 01 003c" + "61" * 24, "07 04 04 01 003c ff", "07 04 04 01 003c 00", "03 07 30", "06 0a 0000 0001",
     "07 0c 20 0000 0001", "07 0c 20 ffff 0001", "07 0c 23 0009 0001", "07 0c 22 c328 0001", "05 12 20 0005", "06 12 01 0005 03",
     "08 12 01 0005 000003", "07 12 03 0005 0003", "07 14 01 0006 ffff", "03 18 00", "05 18 00000a",
     "07 fe 02 6e6f6465", "07 fe 02 6e6f6465 02 16 00", "03 fe 00 03 fe 00 02 16", "02 fe 02 16"],
)  # fmt: skip
def test_SN03_what_the_text_does_not_allow_is_refused(text: str) -> None:
    refused(bytes.fromhex(text))


def test_SN03_flags_that_mean_nothing_are_ignored() -> None:
    assert decode(bytes.fromhex("0a 04 f7 01 003c 6d6f7465")) == mqttsn.Connect("mote", 60)
    assert decode(bytes.fromhex("08 13 bf 0009 0005 00")) == mqttsn.Suback(1, 9, 5, OK)


@pytest.mark.parametrize(
    "packet",
    [
        mqttsn.Connect("", 60), mqttsn.Connect("m" * 24, 60), mqttsn.Connect("m", 65_536), mqttsn.Publish(TopicName("w"), b""),
        mqttsn.Publish(TopicId(0), b""), mqttsn.Publish(TopicId(65_535), b""), mqttsn.Publish(ShortTopic("abc"), b""),
        mqttsn.Publish(TopicId(1), b"", 3), mqttsn.Publish(TopicId(1), bytes(65_535)), mqttsn.Subscribe(TopicName(""), 1),
        mqttsn.Subscribe(TopicId(1), 1), mqttsn.Register(0, 1, ""), mqttsn.Register(0, 1, "a\0b"),
        mqttsn.Forward(4, b"", b"\2\x16"),
        mqttsn.Register(0, 1, "\ud800"), mqttsn.Forward(0, b"", b"\2\x11"), mqttsn.Advertise(256, 1), mqttsn.Pubrel(-1),
    ],
    ids=repr,
)  # fmt: skip
def test_SN04_a_value_that_a_packet_cannot_carry_is_refused(packet: Packet) -> None:
    with pytest.raises(PeerFault, match="E_FORMAT"):
        packet.encode()


@given(data=st.binary(max_size=40))
def test_SN03_random_bytes_are_a_packet_or_a_peer_fault(data: bytes) -> None:
    for raw in (
        data,
        bytes([min(255, len(data) + 1)]) + data,
        bytes([len(data) + 2, data[0] % 32 if data else 4]) + data,
    ):
        try:
            found = decode(raw)
        except PeerFault as fault:
            found = None
            code = fault.code
            if code is not ErrorCode.E_FORMAT:
                raise
        if found is not None:
            assert decode(found.encode()) == found


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
topics = st.one_of(
    st.integers(1, 65_534).map(Predefined),
    st.text("abcXYZ/#+", min_size=2, max_size=2).map(ShortTopic),
    texts.map(TopicName),
)


@given(
    topic=topics, msg_id=st.integers(0, 65_535), qos=st.integers(-1, 2), dup=st.booleans(), data=st.binary(max_size=300)
)
def test_SN01_packets_read_back_as_they_were_written(
    topic: object, msg_id: int, qos: int, dup: bool, data: bytes
) -> None:
    for packet in (
        mqttsn.Subscribe(topic, msg_id, qos, dup),
        mqttsn.Unsubscribe(topic, msg_id),
        mqttsn.WillMsg(data),
        *(() if isinstance(topic, TopicName) else (mqttsn.Publish(topic, data, qos, msg_id, dup, dup),)),
        *((mqttsn.Register(1, msg_id, topic.name),) if isinstance(topic, TopicName) else ()),
    ):
        assert decode(packet.encode()) == packet
