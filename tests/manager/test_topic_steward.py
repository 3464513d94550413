"""A manager's topics rule by rule, over cells that only take notes: what is laid down, marked, reported, and written to files."""

import json
from pathlib import Path

import pytest
from gatehouse import Shelf
from topic_office import NOBODY, ONE, TOPIC, TWO, Cells, Rows, begun, charter, clients, rule, steward

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.member import ACTIVE, REVOKED, SUSPENDED, Member
from keymote.engine.policy.topic_charter import TopicCharter, TopicGone
from keymote.engine.policy.topic_events import (
    Cause,
    ClientForgotten,
    ClientMade,
    EpochBegun,
    Parked,
    Safe,
    SessionEnded,
)
from keymote.engine.topic.faces import (
    SESSION,
    EndTopic,
    ForgetClient,
    Holder,
    LayDown,
    RegisterClient,
    RotateTopic,
    SessionHeld,
    Terms,
    WhoMay,
    client_of,
    topic_of,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import CallerFault, Incompatible, Unavailable
from keymote.host.client_file import ClientFile
from keymote.manager import topic_log
from keymote.manager.app.topics import TopicService
from keymote.manager.topic_log import TopicLog
from keymote.manager.topic_rules import Mark, laid, laid_version, next_since, stated_version
from keymote.storage.provisioning import is_provisioning, read_client, spend
from keymote.wire.admin import to_base64url

# ------------------------------------------------------------------ versions and marks


def test_TM04_a_laid_version_lies_between_two_of_the_coordinator() -> None:
    assert laid_version(4) < next_since(4, []) < laid_version(5)
    assert next_since(4, [Mark(next_since(4, []), True, True)]) == laid_version(4, 2)
    assert stated_version(laid_version(4, 2)) == 4


def test_TM04_a_mark_takes_a_grant_away_until_something_newer_is_stated() -> None:
    mark = Mark(next_since(3, []), compromised=True, out=True)
    after = laid(rule(3), {ONE: mark})
    assert (after.version, after.may(ONE, 1), after.may(TWO, 1)) == (mark.since, False, True)
    assert after.taken_from(ONE, laid_version(3)) == TopicGone(ONE, True, mark.since)
    assert laid(rule(3, "other/#", (TWO,)), {ONE: mark}).version == laid_version(3)  # nothing of it is his
    stated = rule(4, grants=(TWO,), gone=(TopicGone(ONE, False, 4),))
    heard = laid(stated, {ONE: mark})
    assert heard.version == laid_version(4)
    assert heard.gone == (TopicGone(ONE, False, laid_version(4)),)


def test_TM04_who_came_back_may_again_and_what_it_held_is_good_no_more() -> None:
    mark = Mark(next_since(3, []), compromised=True, out=False)
    after = laid(rule(3), {ONE: mark})
    assert after.may(ONE, 2)
    assert after.taken_from(ONE, laid_version(3)) is not None
    assert after.taken_from(ONE, after.version) is None
    assert Mark.decode(mark.encode()) == mark


# ------------------------------------------------------------------ charters and sessions


async def test_TM08_a_charter_reaches_every_session_that_it_concerns_and_twice_is_once() -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    await ours.adopt(charter(rule(1), rule(2, "ward/7/+", (ONE,))))
    assert ours.terms(TOPIC).rule == laid(rule(2, "ward/7/+", (ONE,)), {})
    assert ours.terms("home/1").rule is None
    await begun(ours)
    assert cells.told(LayDown) == []  # it began under this very rule
    newer = charter(rule(1), rule(3, "ward/7/+", (ONE, TWO)))
    await ours.adopt(newer)
    await ours.adopt(newer)
    assert cells.said == [(topic_of(TOPIC), LayDown(ours.terms(TOPIC).rule))]
    await ours.adopt(charter(rule(4)))
    await ours.adopt(TopicCharter(5, 0, ()))
    assert [command.rule and command.rule.filter for command in cells.told(LayDown)[1:]] == ["ward/#", None]


async def test_TM17_a_rule_has_only_so_many_topics(monkeypatch) -> None:
    monkeypatch.setattr("keymote.manager.topics.MOST_TOPICS", 2)
    ours = steward(Cells(), Shelf())
    await ours.adopt(charter(rule(1), rule(2, "home/#")))
    for topic in ("ward/1", "ward/2"):
        assert not ours.terms(topic).full
        await begun(ours, topic)
    assert [ours.terms(topic).full for topic in ("ward/3", "ward/2", "home/1")] == [True, False, False]


async def test_TM08_the_last_charter_holds_over_a_restart_and_sessions_are_resumed() -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    await ours.adopt(charter(rule(1), rule(2, "ward/7/+")))
    await ours.adopt(charter(rule(1), rule(3, "home/#")))
    shelf.rows[topic_of(TOPIC)] = b"sealed"
    held = SessionHeld(TOPIC, "ward/#", laid_version(1), 4, 9, True, (Holder(ONE, 2, 3, True),))
    cells.held[topic_of(TOPIC)] = held
    again = steward(cells, shelf)
    assert {each.filter for each in again.charter.rules} == {"ward/#", "home/#"}
    await again.resume()
    assert cells.told(LayDown) == []
    assert (again.sessions[TOPIC].epoch, again.sessions[TOPIC].parked) == (4, {ONE})
    cells.held[topic_of(TOPIC)] = SessionHeld(TOPIC, "ward/#", laid_version(0), 4, 9, True, ())
    await again.resume()
    assert len(cells.told(LayDown)) == 1


async def test_TM08_a_session_that_began_under_the_rule_of_a_moment_ago_gets_the_present_one() -> None:
    cells = Cells()
    ours = steward(cells, Shelf())
    await ours.adopt(charter(rule(1)))
    await ours.adopt(charter(rule(2)))
    await ours.hear([EpochBegun(TOPIC, 1, Cause.FIRST, laid_version(1))], 5)
    assert [command.rule and command.rule.version for command in cells.told(LayDown)] == [laid_version(2)]


async def test_TM09_events_are_reported_in_the_coordinators_versions_and_sessions_are_known() -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    await ours.adopt(charter(rule(7)))
    await ours.hear([EpochBegun(TOPIC, 1, Cause.FIRST, laid_version(7, 3)), Parked(TOPIC, 1, ONE), Safe(TOPIC, 1)], 5)
    said = TopicLog(shelf).oldest()
    assert [report.seq for report in said] == [1, 2, 3]
    assert said[0].event == EpochBegun(TOPIC, 1, Cause.FIRST, 7)
    assert ours.sessions[TOPIC].safe
    await ours.hear([Safe(TOPIC, 0), SessionEnded(TOPIC)], 6)
    assert ours.sessions == {}
    with pytest.raises(CallerFault, match="nobody has a key"):
        await ours.rotate(TOPIC)
    await begun(ours)
    await ours.rotate(TOPIC, compromise=True)
    assert cells.told(RotateTopic) == [RotateTopic(compromise=True)]


# ------------------------------------------------------------------ devices of ours


async def test_TM05_a_suspended_device_is_out_until_it_is_taken_back_and_a_revoked_one_for_good() -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    await ours.adopt(charter(rule(1)))
    await begun(ours)
    member = Member(b"", b"", SUSPENDED, (), -1)
    cells.members[ONE] = member
    await ours.changed(ONE)
    await ours.changed(ONE)
    assert not ours.marks[ONE].compromised
    cells.members[ONE] = Member(b"", b"", ACTIVE, (), -1)
    await ours.changed(ONE)
    cells.members[ONE] = Member(b"", b"", REVOKED, (), -1)
    cells.chains.add(client_of(ONE))
    again = steward(cells, shelf)  # it was revoked while the service was down
    again.sessions = ours.sessions
    await again.resume()
    rules = [command.rule for command in cells.told(LayDown)]
    assert all(each is not None for each in rules)
    assert [each.may(ONE, 1) for each in rules if each] == [False, True, False]
    assert [each.gone[0].compromised for each in rules if each] == [False, False, True]
    versions = [each.version for each in rules if each]
    assert versions == sorted(set(versions))
    assert cells.told(ForgetClient) == [ForgetClient()]


async def test_TM05_a_stranger_to_every_rule_leaves_no_mark() -> None:
    cells = Cells()
    ours = steward(cells, Shelf())
    await ours.adopt(charter(rule(1)))
    cells.members[b"\x09" * 8] = Member(b"", b"", REVOKED, (), -1)
    await ours.changed(b"\x09" * 8)
    await ours.enrolled(b"\x09" * 8)
    assert (ours.marks, cells.said) == ({}, [])


async def test_TM06_a_new_enrolment_ends_what_the_former_one_held_and_marks_go_with_their_rules() -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    await ours.adopt(charter(rule(1)))
    await begun(ours)
    await ours.enrolled(ONE)
    (command,) = cells.told(LayDown)
    assert command.rule is not None
    assert command.rule.may(ONE, 1)
    assert command.rule.taken_from(ONE, laid_version(1)) is not None
    assert steward(cells, shelf).marks == ours.marks
    await ours.adopt(charter(rule(2, grants=(TWO,))))
    assert (ours.marks, steward(cells, shelf).marks) == ({}, {})


async def test_TM16_a_manager_from_a_backup_forgets_every_chain_and_session_once() -> None:
    cells, shelf = Cells(), Shelf()
    shelf.rows[topic_of(TOPIC)] = shelf.rows[client_of(ONE)] = b"sealed"
    ours = steward(cells, shelf)
    assert not await ours.forget_former_life(0)
    assert await ours.forget_former_life(1)
    assert cells.said == [(topic_of(TOPIC), EndTopic()), (client_of(ONE), ForgetClient())]
    assert not await steward(cells, shelf).forget_former_life(1)
    assert await steward(cells, shelf).forget_former_life(2)


# ------------------------------------------------------------------ reports


async def test_TM07_reports_are_kept_in_order_until_they_were_taken() -> None:
    shelf = Shelf()
    log = TopicLog(shelf)
    await log.add([Safe(TOPIC, n) for n in range(1, 40)], 5)
    log = TopicLog(shelf)  # a restart
    assert [each.seq for each in log.oldest()] == list(range(1, 33))
    await log.settle(30)
    assert len(TopicLog(shelf)) == 9
    await log.go_on_above(1000)
    assert [each.seq for each in TopicLog(shelf).oldest()] == list(range(1001, 1010))
    await log.add([Safe(TOPIC, 1)], 5)
    assert [each.seq for each in TopicLog(shelf).oldest()][-1] == 1010
    assert (await restored(shelf)) == (2 << 32) + 1


async def restored(shelf: Shelf) -> int:
    log = TopicLog(shelf, generation=2)
    await log.add([Safe(TOPIC, 1)], 5)
    return max(each.seq for each in log.oldest())


async def test_TM07_the_oldest_report_gives_way_but_who_is_a_client_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_log, "MOST_WAITING", 3)
    shelf = Shelf()
    log = TopicLog(shelf)
    await log.add([ClientMade(ONE, "bed 7"), *(Safe(TOPIC, n) for n in range(1, 5))], 5)
    assert [each.seq for each in TopicLog(shelf).oldest()] == [1, 4, 5]


# ------------------------------------------------------------------ provisioning files


async def test_TM02_a_file_holds_the_key_for_its_owner_alone_and_the_manager_only_what_follows(tmp_path: Path) -> None:
    cells, shelf, path = Cells(), Shelf(), tmp_path / "bed-7.client"
    made = await clients(cells, shelf).add("bed 7", path, 1)
    file = read_client(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.pss is not None
    assert (file.client_id, file.name, file.manager) == (made.client_id, "bed 7", "coap://127.0.0.1:5683")
    (said,) = cells.told(RegisterClient)
    assert isinstance(said, RegisterClient)
    assert said.chain_key == KeyChain.begin(made.client_id, file.pss).ck
    pss, printed = file.pss.expose(), to_base64url(file.pss.expose())
    assert printed in path.read_text()
    assert all(pss not in record and printed.encode() not in record for record in shelf.rows.values())
    assert printed not in repr(file)
    assert is_provisioning(path)
    left = spend(path, file)
    assert (left.pss, read_client(path)) == (None, left)
    assert printed not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_TM02_a_file_is_never_overwritten_and_a_client_without_one_is_none(tmp_path: Path) -> None:
    cells, shelf = Cells(), Shelf()
    ours = clients(cells, shelf)
    taken = tmp_path / "taken"
    taken.write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (taken, tmp_path / "link", tmp_path / "no" / "folder", Path("relative")):
        with pytest.raises(CallerFault):
            await ours.add("bed 7", path, 1)
    assert taken.read_text() == "precious"
    assert cells.said == []

    def full(_path: Path, _file: ClientFile) -> None:
        raise Unavailable("the disk is full")

    without = clients(cells, shelf, full)
    with pytest.raises(Unavailable):
        await without.add("bed 7", tmp_path / "new", 1)
    assert (cells.chains, list(without.all()), list(clients(cells, shelf).all())) == (set(), [], [])


async def test_TM02_names_are_of_one_client_each_and_last_over_a_restart(tmp_path: Path) -> None:
    cells, shelf = Cells(), Shelf()
    ours = clients(cells, shelf)
    made = await ours.add("bed 7", tmp_path / "1", 1)
    for name in ("bed 7", made.client_id.hex(), "", " x", "a\nb", "x" * 65):
        with pytest.raises(CallerFault):
            await ours.add(name, tmp_path / "2", 1)
    again = clients(cells, shelf)
    assert again.named("bed 7") == again.named(made.client_id.hex()) == made
    await again.forget(made)
    with pytest.raises(CallerFault, match="client list"):
        again.named("bed 7")
    events = [report.event for report in TopicLog(shelf).oldest()]
    assert events == [ClientMade(made.client_id, "bed 7"), ClientForgotten(made.client_id)]


def test_TM02_a_file_that_others_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("", "[]", '{"format": "keymote-client/1"}', "{}", "no json"):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(CallerFault, match="no provisioning file"):
            read_client(path)
    path.write_text(json.dumps({"format": "keymote-client/2"}))
    path.chmod(0o600)
    with pytest.raises(Incompatible, match="keymote-client/2"):
        read_client(path)
    path.chmod(0o644)
    with pytest.raises(CallerFault, match="read by others"):
        read_client(path)


async def test_TM06_a_removed_client_is_put_out_of_every_topic(tmp_path: Path) -> None:
    cells, shelf = Cells(), Shelf()
    ours = steward(cells, shelf)
    made = await clients(cells, shelf).add("bed 7", tmp_path / "1", 1)
    await ours.adopt(charter(rule(1, grants=tuple(sorted((TWO, made.client_id))))))
    await begun(ours)
    await ours.put_out(made.client_id)
    (command,) = cells.told(LayDown)
    assert command.rule is not None
    assert not command.rule.may(made.client_id, 1)
    assert command.rule.taken_from(made.client_id, laid_version(1)) == TopicGone(
        made.client_id, True, command.rule.version
    )
    assert cells.told(ForgetClient) == [ForgetClient()]
    assert SESSION not in {key.kind for key in shelf.rows}


async def test_TM16_no_request_is_answered_before_what_a_backup_brought_is_gone(tmp_path: Path) -> None:
    shelf, heard = Shelf(), []
    made = await clients(Cells(), shelf).add("bed 7", tmp_path / "1", 1)
    service = TopicService(
        Cells(), Rows(shelf), lambda: NOBODY, SeededEntropy(b"service"), address="", suite=1, generation=1
    )
    assert service.clients.named("bed 7") == made
    assert service.answer(WhoMay(ONE, TOPIC, 1), heard.append)
    service.start()
    await service.do(_nothing)
    assert service.answer(WhoMay(ONE, TOPIC, 1), heard.append)
    await service.close()
    assert isinstance(heard[0], Unavailable)
    assert heard[1] == Terms(None)
    assert list(service.clients.all()) == []


async def _nothing() -> None:
    return None
