"""Topics end to end over real sockets: a manager with its database, devices as applications open them, a coordinator's list."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from street import Router
from trusted import BOTH, TOPIC, Trusted, dev

from keymote.device import Device, NotReady, Revoked, SyncDevice
from keymote.device.topic_client import ClientConfig, TopicClient
from keymote.device.topic_keys import NeedsKey, Reading, Rejected
from keymote.engine.faces import ResumeDevice, SuspendDevice
from keymote.engine.policy.topic_events import Acknowledged, Cause, EpochBegun, KeyRefused, Parked, Safe
from keymote.engine.topic.faces import ForgetChain, KeyTaken, client_of
from keymote.engine.topic.system_state import ClientCell
from keymote.errors import CallerFault
from keymote.lab.scene_founding import two_operators
from keymote.storage.provisioning import read_client
from keymote.wire.admin import to_base64url
from keymote.wire.registry import peek

PUBLISH, SUBSCRIBE = 1, 2
KPUSH = 51


@pytest.fixture
async def ward(tmp_path: Path):
    scene = two_operators(b"ward", homes={"d1": "nm1"}, enrolled=False)
    ward = await Trusted(tmp_path, scene.managers["nm1"]).start()
    async with ward.stack:
        yield ward


async def patient_and_nurse(ward: Trusted) -> tuple[Device, Device]:
    """Return a publisher and a subscriber that have their keys."""
    patient, nurse = await ward.client(1), await ward.client(2)
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    await patient.topics.ready_to_publish(TOPIC, 5)
    await nurse.topics.ready_to_subscribe(TOPIC, 5)
    return patient, nurse


async def until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  nobody sets an event for it
            await asyncio.sleep(0.01)  # the pause of a poll with a deadline


async def read(device: Device, payload: bytes) -> bytes:
    """Return what is in a payload, now or when the key that it needs has come: a publisher may have got another number."""
    late: list[Reading] = []
    with suppress(NeedsKey):
        late.append(device.topics.unprotect(TOPIC, payload, late.append))
    await until(lambda: late)
    return late[0].plaintext


async def test_TM01_an_enrolled_device_publishes_what_another_one_reads(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    payload = patient.topics.keys.protect(TOPIC, b"72 bpm")
    assert b"72" not in payload
    reading = nurse.topics.unprotect(TOPIC, payload)
    assert (reading.plaintext, reading.epoch, reading.duplicate) == (b"72 bpm", 1, False)
    forged = patient.topics.keys.protect(TOPIC, b"73 bpm")
    with pytest.raises(Rejected):
        nurse.topics.unprotect(TOPIC, forged[:-1] + bytes((forged[-1] ^ 1,)))
    await ward.event(Safe, lambda said: said.topic == TOPIC)
    await until(lambda: any(isinstance(said.event, Safe) for said in ward.coordinator.heard))
    assert isinstance(ward.coordinator.heard[0].event, EpochBegun)


async def test_TM10_a_key_that_is_missing_is_asked_for_and_what_waited_for_it_comes_out(ward: Trusted) -> None:
    patient, nurse = await ward.client(1), await ward.client(2)
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    payload = await patient.topics.protect(TOPIC, b"72 bpm", 5)
    late = []
    with pytest.raises(NeedsKey):
        nurse.topics.unprotect(TOPIC, payload, late.append)
    await until(lambda: late)
    assert late[0].plaintext == b"72 bpm"
    third = await ward.client(3)
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE), (dev(3), PUBLISH))
    other = await third.topics.protect(TOPIC, b"73 bpm", 5)  # a publisher that the nurse has not heard of
    since = len(ward.reports)
    for _ in range(20):
        with pytest.raises(NeedsKey):
            nurse.topics.unprotect(TOPIC, await third.topics.protect(TOPIC, b"more"))
    with pytest.raises(NeedsKey):
        nurse.topics.unprotect(TOPIC, other, late.append)
    await until(lambda: len(late) == 2)
    asked = [said for said in ward.reports[since:] if isinstance(said, Acknowledged) and said.client == dev(2)]
    assert len(asked) <= 1  # twenty readings are one question


async def test_TM10_who_is_granted_nothing_gets_nothing_and_hears_so(ward: Trusted) -> None:
    stranger = await ward.client(9)
    await ward.grants((dev(1), BOTH))
    with pytest.raises(Revoked, match="no key to publish"):
        await stranger.topics.ready_to_publish(TOPIC, 5)
    with pytest.raises(CallerFault, match="concrete"):
        await stranger.topics.ready_to_subscribe("ward/#", 5)
    with pytest.raises(Revoked):
        await stranger.topics.ticket(5)
    assert await ward.event(KeyRefused, lambda said: said.client == dev(9))


async def test_TM01_a_device_without_a_chain_is_told_what_to_do(ward: Trusted) -> None:
    old = await ward.client(1)
    await old.node.order_chain(ForgetChain())  # as one that was enrolled before there were chains
    with pytest.raises(CallerFault, match="device run --rejoin"):
        await old.topics.ready_to_publish(TOPIC)
    early = Device.open(await ward.label(2, manager="coap://127.0.0.1:9"))
    async with early:
        with pytest.raises(NotReady, match="not enrolled"):
            await early.topics.ready_to_publish(TOPIC)
    with pytest.raises(NotReady, match="not open"):
        _ = early.topics


async def test_TM11_a_planned_rotation_loses_no_reading_of_a_sleeping_subscriber(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    asleep = True
    ward.hold_back = lambda peer, _data: asleep and peer == nurse.address
    sent = [patient.topics.keys.protect(TOPIC, b"0")]
    for epoch in (2, 3, 4):
        await ward.topics.steward.rotate(TOPIC)
        await ward.event(Acknowledged, lambda said, epoch=epoch: (said.epoch, said.client) == (epoch, dev(1)))
        await until(lambda epoch=epoch: patient.topics.keys.standings()[0].epoch == epoch)
        sent.append(patient.topics.keys.protect(TOPIC, b"%d" % epoch))
    await ward.event(Parked, lambda said: said.client == dev(2))
    asleep = False
    late = []
    for payload in sent:
        with suppress(NeedsKey):  # then it waits, and the key is asked for
            late.append(nurse.topics.unprotect(TOPIC, payload, late.append))
    await until(lambda: len(late) == len(sent))
    assert sorted(reading.plaintext for reading in late) == [b"0", b"2", b"3", b"4"]
    await ward.event(Safe, lambda said: said.epoch == 4)


async def test_TM05_who_is_revoked_gets_no_further_key_and_the_others_get_theirs_at_once(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    evicted = await ward.client(3)
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE), (dev(3), SUBSCRIBE))
    await evicted.topics.ready_to_subscribe(TOPIC, 5)
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)  # who comes in learns nothing of before
    payload = patient.topics.keys.protect(TOPIC, b"before")
    assert await read(evicted, payload) == b"before"
    ward.coordinator.away = True
    ward.spoken.clear()
    await ward.revoke(3)
    begun = await ward.event(EpochBegun, lambda said: said.cause is Cause.COMPROMISE)
    await ward.event(Safe, lambda said: said.epoch == begun.epoch)
    await until(lambda: patient.topics.keys.standings()[0].epoch == begun.epoch)
    after = patient.topics.keys.protect(TOPIC, b"after")
    assert await read(nurse, after) == b"after"
    with pytest.raises(NeedsKey):
        evicted.topics.unprotect(TOPIC, after)
    assert not [data for peer, data in ward.spoken if peer == evicted.address and peek(data)[0] == KPUSH]
    assert ward.driver.peek(client_of(dev(3))) is None
    with pytest.raises(NotReady):  # a trusted system is silent to whom it does not know
        await evicted.topics.ready_to_publish(TOPIC, 1)


async def test_TC28_readings_under_the_last_key_of_a_revoked_publisher_count_no_more(ward: Trusted) -> None:
    stolen, nurse = await patient_and_nurse(ward)
    assert await read(nurse, stolen.topics.keys.protect(TOPIC, b"while it was ours")) == b"while it was ours"
    forged = stolen.topics.keys.protect(TOPIC, b"from the thief")
    await ward.revoke(1)
    await ward.event(Safe, lambda said: said.epoch == 2)
    await until(lambda: nurse.topics.keys.standings() == [] or nurse.topics.keys.standings()[0].epoch == 2)
    with pytest.raises(NeedsKey):  # its chain is gone, and no key that is granted opens it
        nurse.topics.unprotect(TOPIC, forged)


async def test_TM05_a_suspended_device_is_out_until_it_is_taken_back(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    await ward.order(dev(2).hex(), SuspendDevice())
    await ward.topics.standing_changed(dev(2))
    begun = await ward.event(EpochBegun, lambda said: said.epoch == 2)
    await until(lambda: patient.topics.keys.standings()[0].epoch == begun.epoch)
    payload = patient.topics.keys.protect(TOPIC, b"x")
    with pytest.raises(NeedsKey):
        nurse.topics.keys.unprotect(TOPIC, payload)
    nurse.topics.end(TOPIC)
    with pytest.raises(Revoked):
        await nurse.topics.ready_to_subscribe(TOPIC, 5)
    await ward.order(dev(2).hex(), ResumeDevice())
    await ward.topics.standing_changed(dev(2))
    await nurse.topics.ready_to_subscribe(TOPIC, 5)


async def test_TM12_a_device_that_starts_again_has_a_new_chain_number_and_the_nurse_reads_on(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    before = patient.topics.keys.standings()[0]
    assert await read(nurse, patient.topics.keys.protect(TOPIC, b"1")) == b"1"
    await patient.close()
    async with Device.open(patient.config) as again:
        with pytest.raises(NeedsKey):
            again.topics.keys.protect(TOPIC, b"2")
        late = []
        payload = await again.topics.protect(TOPIC, b"2", 5)
        assert again.topics.keys.standings()[0].snd != before.snd
        with pytest.raises(NeedsKey):
            nurse.topics.unprotect(TOPIC, payload, late.append)
        await until(lambda: late)
        assert late[0].plaintext == b"2"


async def test_TM13_the_manager_goes_on_after_a_restart_without_its_coordinator(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    await ward.stop()
    ward.coordinator.away = True
    await ward.serve()
    await until(lambda: TOPIC in ward.topics.steward.sessions)
    await ward.topics.steward.rotate(TOPIC)
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)
    assert await read(nurse, patient.topics.keys.protect(TOPIC, b"on")) == b"on"
    ward.coordinator.away = False
    await ward.topics.changed()
    begun = [said.event.epoch for said in ward.coordinator.heard if isinstance(said.event, EpochBegun)]
    assert begun == [1, 2]


@pytest.mark.long
@pytest.mark.parametrize("sends", range(6))
async def test_TM13_what_was_stored_before_it_was_killed_and_not_sent_is_sent_by_its_next_life(
    ward: Trusted, sends: int
) -> None:
    patient, nurse = await patient_and_nurse(ward)
    keys: dict[tuple[bytes, int], set[bytes]] = {}

    def note(_key: object, report: object) -> None:
        if isinstance(report, KeyTaken):
            keys.setdefault((report.grant.sess, report.grant.epoch), set()).add(report.grant.SK)

    for device in (patient, nurse):
        device.node.observer = note
    await until(lambda: ward.topics.steward.sessions[TOPIC].safe)
    ward.sends_left = sends
    await ward.topics.steward.rotate(TOPIC)  # on disk when it returns
    await until(lambda: ward.sends_left == 0 or ward.topics.steward.sessions[TOPIC].safe)
    await ward.stop()
    ward.sends_left = -1
    since = len(ward.reports)
    await ward.serve()
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)
    assert await read(nurse, patient.topics.keys.protect(TOPIC, b"on")) == b"on"
    await until(lambda: TOPIC in ward.topics.steward.sessions and ward.topics.steward.sessions[TOPIC].safe)
    assert not [said for said in ward.reports[since:] if isinstance(said, EpochBegun)]
    assert all(len(same) == 1 for same in keys.values())


async def test_TM15_no_key_of_a_topic_or_of_a_client_is_in_a_file_in_the_clear(
    ward: Trusted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    patient, nurse = await patient_and_nurse(ward)
    secrets: dict[bytes, str] = {}

    def note(_key: object, report: object) -> None:
        if isinstance(report, KeyTaken):
            secrets[report.grant.SK] = f"SK of epoch {report.grant.epoch}"

    for device in (patient, nurse):
        device.node.observer = note
    await ward.topics.steward.rotate(TOPIC)
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)
    for number in (1, 2):
        cell = ward.driver.peek(client_of(dev(number)))
        assert isinstance(cell, ClientCell)
        secrets[cell.end.chain.ck.expose()] = f"CK of {number}"
    assert len(secrets) == 3
    files = on_disk(tmp_path)
    said = (caplog.text + repr(ward.reports) + repr(nurse.topics.keys)).encode()
    for secret, what in secrets.items():
        for form in (secret, secret.hex().encode(), to_base64url(secret).encode(), repr(secret).encode()):
            assert form not in files, what
            assert form not in said, what


async def test_TM06_a_device_that_enrols_anew_has_a_new_chain_and_its_former_keys_end(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    before = ward.driver.peek(client_of(dev(2)))
    await nurse.close()
    config = await ward.label(2, again=True)
    again = Device.open(config)
    await again.start(rejoin=True)
    ward.stack.push_async_callback(again.close)
    await again.enrolled(10)
    await ward.event(EpochBegun, lambda said: said.epoch == 2)
    after = ward.driver.peek(client_of(dev(2)))
    assert after is not None
    assert after != before
    await again.topics.ready_to_subscribe(TOPIC, 5)
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)
    assert await read(again, patient.topics.keys.protect(TOPIC, b"new")) == b"new"


@pytest.mark.long  # its enrolment takes a repetition of BIND, five seconds later
async def test_TM14_a_device_that_cannot_be_reached_fetches_its_new_keys(ward: Trusted) -> None:
    patient = await ward.client(1)
    router = await Router.between(ward.endpoint.address)
    ward.stack.callback(router.close)
    hidden = await ward.client(2, manager=router.address, poll_s=0.05)
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    await patient.topics.ready_to_publish(TOPIC, 5)
    await hidden.topics.ready_to_subscribe(TOPIC, 5)
    await ward.topics.steward.rotate(TOPIC)
    await ward.event(Safe, lambda said: said.epoch == 2)
    assert await read(hidden, patient.topics.keys.protect(TOPIC, b"x")) == b"x"


async def test_TM14_so_does_a_client_of_a_file(ward: Trusted, tmp_path: Path) -> None:
    made = await ward.topics.add_client("bed 7", tmp_path / "client")
    router = await Router.between(ward.endpoint.address)
    ward.stack.callback(router.close)
    file = (tmp_path / "client").read_text().replace(ward.endpoint.address, router.address)
    (tmp_path / "client").write_text(file)
    await ward.grants((made.client_id, BOTH))
    async with TopicClient.open(ClientConfig(tmp_path / "client", poll_s=0.05)) as mote:
        await mote.topics.ready_to_publish(TOPIC, 5)
        await ward.topics.steward.rotate(TOPIC)
        await ward.event(Safe, lambda said: said.epoch == 2)
        await until(lambda: mote.topics.keys.standings()[0].epoch == 2)
        assert router.held_back > 0


# ------------------------------------------------------------------ provisioning files


async def test_TM03_a_client_of_a_file_has_nothing_but_symmetric_keys(ward: Trusted, tmp_path: Path) -> None:
    nurse = await ward.client(2)
    path = tmp_path / "bed-7.client"
    made = await ward.topics.add_client("bed 7", path)
    pss = read_client(path).pss
    assert pss is not None
    await ward.grants((made.client_id, PUBLISH), (dev(2), SUBSCRIBE))
    await nurse.topics.ready_to_subscribe(TOPIC, 5)
    async with TopicClient.open(path) as mote:
        assert read_client(path).pss is None
        late = []
        payload = await mote.topics.protect(TOPIC, b"72", 5)
        with pytest.raises(NeedsKey):
            nurse.topics.unprotect(TOPIC, payload, late.append)
        await until(lambda: late)
        assert late[0].plaintext == b"72"
        with pytest.raises(CallerFault, match="key to sign"):
            await mote.topics.ready_to_publish(TOPIC, signed=True)
    async with TopicClient.open(path) as mote:  # a second start finds its chain
        await mote.topics.ready_to_publish(TOPIC, 5)
        await ward.topics.remove_client("bed 7")
        await until(lambda: ward.topics.steward.sessions[TOPIC].epoch == 2)
        with pytest.raises(NotReady):
            await mote.topics.ready_to_subscribe(TOPIC, 1)
    everything = on_disk(tmp_path)
    assert pss.expose() not in everything
    assert to_base64url(pss.expose()).encode() not in everything


def on_disk(folder: Path) -> bytes:
    """Return every byte of every file: databases, journals and whatever else was left behind."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_TM03_a_start_that_was_cut_off_is_finished_by_the_next_one(ward: Trusted, tmp_path: Path) -> None:
    path = tmp_path / "bed-7.client"
    await ward.topics.add_client("bed 7", path)
    before = path.read_bytes()
    async with TopicClient.open(path):
        pass
    path.write_bytes(before)  # power was cut before the secret left the file
    path.chmod(0o600)
    async with TopicClient.open(path):
        assert read_client(path).pss is None
    with pytest.raises(CallerFault, match="used already"):
        async with TopicClient.open(ClientConfig(path, state=tmp_path / "elsewhere")):
            pass


async def test_a_program_without_an_event_loop_publishes_too(ward: Trusted) -> None:
    config = await ward.label(1)
    await ward.grants((dev(1), BOTH))

    def program() -> bytes:
        with SyncDevice.open(config) as device:
            device.enrolled(5)
            topics = device.topics
            topics.ready_to_publish(TOPIC, 5)
            topics.ready_to_subscribe(TOPIC, 5)
            return topics.unprotect(TOPIC, topics.protect(TOPIC, b"both")).plaintext

    assert await asyncio.to_thread(program) == b"both"


async def test_TC26_who_missed_more_than_256_readings_asks_until_a_new_epoch_comes(ward: Trusted) -> None:
    patient, nurse = await patient_and_nurse(ward)
    for _ in range(257):
        patient.topics.keys.protect(TOPIC, b"lost")
    since = len(ward.reports)
    for _ in range(20):
        with pytest.raises(NeedsKey):
            nurse.topics.unprotect(TOPIC, patient.topics.keys.protect(TOPIC, b"72 bpm"))
    await until(lambda: any(isinstance(said, Acknowledged) and said.client == dev(2) for said in ward.reports[since:]))
    with pytest.raises(NeedsKey):
        nurse.topics.unprotect(TOPIC, patient.topics.keys.protect(TOPIC, b"72 bpm"))
    asked = [said for said in ward.reports[since:] if isinstance(said, Acknowledged) and said.client == dev(2)]
    assert len(asked) == 1  # the same epoch again: no reason to ask faster
    await ward.topics.steward.rotate(TOPIC)
    await until(lambda: patient.topics.keys.standings()[0].epoch == 2)
    await until(lambda: any(each.epoch == 2 for each in nurse.topics.keys.standings()))
    assert await read(nurse, patient.topics.keys.protect(TOPIC, b"73 bpm")) == b"73 bpm"
