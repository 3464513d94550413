"""A coordinator's key rolls: asked for, certified, handed over, in force; whatever interrupts it, and whoever pins what."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from office import NOW as THEN
from office import Clock, Issuer, Office, made_identity

from keymote.cli.authority import pin_file
from keymote.coordinator.app.directory import NEXT_CREDENTIAL, OWN_FILE, Directory, former_credentials
from keymote.coordinator.app.roll import NEXT_REQUEST, ROLLED, Roll, Stage, roll_key
from keymote.coordinator.auditing import Auditing
from keymote.coordinator.authority import Root, new_request
from keymote.coordinator.desk import Desk
from keymote.coordinator.evidence import judge
from keymote.coordinator.identity import FormerKey, Identity
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.audit import Entry
from keymote.engine.base import Ask, Now, Tell
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import RegistrarContext
from keymote.engine.enrolment import renewal
from keymote.engine.faces import CredentialRenewed
from keymote.engine.member import ACTIVE, Member, Renewal
from keymote.engine.queries import Receipt, RegisterCredential
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.storage.seal import DataKey
from keymote.storage.sql_audit import read_audit
from keymote.storage.sql_ledger import open_ledger
from keymote.wire import admin, admin_files
from keymote.wire.credential import Credential, Role, SignedCredential, kid_of

NOW = int(time.time())
ENTROPY = SeededEntropy(b"rolls")


# ------------------------------------------------------------------ the directory


def certify(folder: Path, root: Root, request: str, answer: str) -> None:
    wanted = admin_files.read_file((folder / request).read_bytes(), admin_files.RequestFile, request)
    credential = root.certify(admin.from_base64url(wanted.request), NOW, ENTROPY.draw(8))
    carried = admin_files.CredentialFile(admin.to_base64url(credential.raw), pin_file(root))
    (folder / answer).write_bytes(admin_files.write_file(carried))


@pytest.fixture
def folder(tmp_path: Path, root: Root) -> Path:
    """A coordinator's directory, initialised and certified."""
    Directory.create(tmp_path, "north", 1, ["localhost"], SeededEntropy(b"north"), NOW)
    certify(tmp_path, root, "nc.req", "nc.cred")
    return tmp_path


async def go_on(folder: Path) -> Roll:
    return await roll_key(folder, ENTROPY, NOW)


def identity_of(folder: Path) -> Identity:
    return Directory.open(folder, ENTROPY).identity(NOW)


def rolls(folder: Path) -> list[Entry]:
    links, _ = read_audit(folder / "registry.db")
    return [entry for entry in (Entry.decode(link.entry) for link in links) if entry.action == ROLLED]


def files_with(folder: Path, content: bytes) -> list[Path]:
    return [path for path in folder.iterdir() if content in path.read_bytes()]


async def test_CR12_the_next_key_waits_for_the_authority_and_the_present_one_goes_on(folder: Path) -> None:
    before = identity_of(folder)
    asked = await go_on(folder)
    assert asked == Roll(Stage.REQUESTED, folder / NEXT_REQUEST)
    waiting = Directory.open(folder, ENTROPY)
    again = await go_on(folder)
    assert again == asked
    assert Directory.open(folder, ENTROPY).held.sealed_next == waiting.held.sealed_next, "the key is made once"
    assert identity_of(folder) == before
    assert waiting.next_key(ENTROPY).public != before.key.public


async def test_CR12_a_roll_puts_the_next_key_in_force_and_keeps_what_the_old_one_said(folder: Path, root: Root) -> None:
    before = identity_of(folder)
    await go_on(folder)
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    done = await go_on(folder)
    after = identity_of(folder)
    assert (done.stage, done.kid) == (Stage.ROLLED, after.credential.kid)
    assert after.key.public != before.key.public
    assert after.nc_id == before.nc_id
    assert former_credentials(folder) == [before.credential.raw]
    (entry,) = rolls(folder)
    assert (entry.subject, entry.details) == (
        after.nc_id,
        {"kid": after.credential.kid, "before": before.credential.kid},
    )
    assert not (folder / NEXT_REQUEST).exists()
    assert not (folder / NEXT_CREDENTIAL).exists()
    assert (await go_on(folder)).stage is Stage.REQUESTED, "the next word begins the next roll"


async def test_CR12_the_old_key_is_nowhere_after_a_roll(folder: Path, root: Root) -> None:
    old = Directory.open(folder, ENTROPY)
    assert files_with(folder, old.held.sealed_seed.encode())
    await go_on(folder)
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    await go_on(folder)
    assert not files_with(folder, old.held.sealed_seed.encode())
    held = Directory.open(folder, ENTROPY).held
    data_key = DataKey.unwrapped(admin.from_base64url(held.wrapped_key), old.kek, ENTROPY, where="here")
    seed = data_key.open(admin.from_base64url(held.sealed_seed), "coordinator signing key")
    assert Secret(seed) != old.key.seed


@pytest.mark.parametrize("left", ["nothing settled", "nc.cred settled"])
async def test_CR12_a_roll_that_is_interrupted_behind_its_commit_is_finished_by_the_same_command(
    folder: Path, root: Root, tmp_path_factory: pytest.TempPathFactory, left: str
) -> None:
    await go_on(folder)
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    kept = tmp_path_factory.mktemp("kept")
    files = [NEXT_REQUEST, NEXT_CREDENTIAL, *(["nc.cred"] if left == "nothing settled" else [])]
    for name in files:
        shutil.copy(folder / name, kept / name)
    done = await go_on(folder)
    for name in files:  # as if the power had failed there
        shutil.copy(kept / name, folder / name)
    with pytest.raises(CallerFault, match="interrupted") as fault:
        identity_of(folder)
    assert "roll-key" in fault.value.do
    assert await go_on(folder) == done
    assert identity_of(folder).credential.kid == done.kid
    assert len(rolls(folder)) == 1
    assert len(Directory.open(folder, ENTROPY).held.former) == 1


async def test_CR12_an_answer_for_another_key_or_by_another_authority_changes_nothing(folder: Path, root: Root) -> None:
    await go_on(folder)
    before = (folder / OWN_FILE).read_bytes()
    stranger = Root.create(1, SeededEntropy(b"stranger"))
    for by, request in ((root, "nc.req"), (stranger, NEXT_REQUEST)):
        certify(folder, by, request, NEXT_CREDENTIAL)
        with pytest.raises(CallerFault):
            await go_on(folder)
        assert (folder / OWN_FILE).read_bytes() == before
        assert identity_of(folder).key.public == Directory.open(folder, ENTROPY).key.public
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    assert (await go_on(folder)).stage is Stage.ROLLED


async def test_CR12_an_answer_in_the_wrong_file_is_mended_by_certifying_the_present_key_again(
    folder: Path, root: Root
) -> None:
    before = identity_of(folder).key.public
    await go_on(folder)
    certify(folder, root, NEXT_REQUEST, "nc.cred")
    with pytest.raises(CallerFault, match="another key"):
        identity_of(folder)
    certify(folder, root, "nc.req", "nc.cred")
    assert identity_of(folder).key.public == before
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    assert (await go_on(folder)).stage is Stage.ROLLED


async def test_CR12_a_running_coordinator_does_not_roll(folder: Path, root: Root) -> None:
    await go_on(folder)
    certify(folder, root, NEXT_REQUEST, NEXT_CREDENTIAL)
    before, ledger = (folder / OWN_FILE).read_bytes(), open_ledger(folder / "registry.db")
    try:
        with pytest.raises((Unavailable, CallerFault)):
            await go_on(folder)
    finally:
        await ledger.close()
    assert (folder / OWN_FILE).read_bytes() == before


# ------------------------------------------------------------------ whom its managers and peers believe


def rolled_from(before: Identity, root: Root, *, at: int = THEN) -> Identity:
    key = SUITES[1].generate_signing_key(SeededEntropy(b"next" + before.credential.raw))
    following = root.certify(new_request(key, before.nc_id, at), at, b"next" + bytes(4))
    former = (*before.former, FormerKey(before.credential.raw, before.handed_over(following, at, b"handover")))
    return Identity.certified(key, following.raw, root.pin, at, former)


def manager_of(identity: Identity, nm_id: bytes = b"manager1", **changes: object) -> Credential:
    issuer = Issuer(identity.nc_id, identity.key, SeededEntropy(nm_id + identity.key.public))
    return issuer.vouch(nm_id, Role.MANAGER, identity.nc_id, **changes)


def test_CR11_who_pins_the_old_key_follows_the_chain_of_a_rolled_coordinator(root: Root) -> None:
    before = made_identity(b"coord--A", root)
    after = rolled_from(before, root)
    pinned = Trust((Pin(before.nc_id, 1, before.key.public),), SUITES)
    credential = manager_of(after)
    assert pinned.verify([credential.raw, *after.chain], Role.MANAGER, THEN).raw == credential.raw
    assert Trust((root.pin,), SUITES).verify([credential.raw, *after.chain], Role.MANAGER, THEN)
    with pytest.raises(PeerFault) as fault:
        pinned.verify([credential.raw, after.credential.raw], Role.MANAGER, THEN)
    assert fault.value.code is ErrorCode.E_CRED
    handed = SignedCredential.decode(after.chain[1]).claims
    assert (handed.iss, handed.sub, handed.exp) == (after.nc_id, after.nc_id, after.credential.claims.exp)
    longest = [credential.raw, *rolled_from(after, root).chain]
    with pytest.raises(PeerFault):
        pinned.verify(longest, Role.MANAGER, THEN)  # the key between is not in it: a pin follows one roll at a time


async def test_CR12_the_directory_names_each_manager_under_the_key_that_signed_it(office: Office, root: Root) -> None:
    early = await office.manager(b"manager1")
    rolled = Office(Desk(rolled_from(office.desk.identity, root), office.desk.ledger, office.clock), office.clock)
    late = await rolled.manager(b"manager2")
    for manager, above in ((early, office), (late, rolled)):
        credential = rolled.device(manager, b"device-" + manager.id[-1:])
        await rolled.registry.register_device(manager.id, credential.raw, None)
        found, named = await rolled.registry.find_manager(manager.id), await rolled.registry.find(credential.claims.sub)
        assert found.cred_NC == named.cred_NC == above.desk.identity.credential.raw
        chain = [named.credential, named.cred_NM, named.cred_NC]
        assert Trust((root.pin,), SUITES).verify(chain, Role.DEVICE, THEN).raw == credential.raw


async def test_CR12_heads_of_before_and_after_a_roll_stand_for_one_log(office: Office, root: Root) -> None:
    await office.manager(b"manager1")
    first = await Auditing(office.desk).sign_daily()
    before, after = office.desk.identity, rolled_from(office.desk.identity, root)
    rolled = Office(Desk(after, office.desk.ledger, Clock()), office.clock)
    await rolled.manager(b"manager2")
    second = await Auditing(rolled.desk).sign_daily(anyway=True)
    assert first is not None
    assert second is not None
    links = await office.desk.ledger.read(lambda tx: tx.audit(0, 100))
    heads = [first.signed, second.signed]
    assert judge(links, heads, after.credential, [before.credential]).why == ""
    with pytest.raises(PeerFault) as fault:
        judge(links, heads, after.credential)
    assert fault.value.code is ErrorCode.E_AUTH
    with pytest.raises(PeerFault, match="another coordinator"):
        judge(links, heads, after.credential, [made_identity(b"coord--B", root).credential])


# ------------------------------------------------------------------ the renewal of managers under the next key


def context_of(identity: Identity) -> RegistrarContext:
    return RegistrarContext(
        id=identity.nc_id,
        nc_id=identity.nc_id,
        role=Role.COORDINATOR,
        signing=identity.key,
        suites=SUITES,
        chain=identity.chain,
        trust=identity.trust,
    )


NM = b"manager1"
WHEN = Now(0.0, THEN)


def heard(identity: Identity, member: Member, kid: bytes) -> renewal.Decided:
    return renewal.heard(context_of(identity), NM, member, kid, WHEN, SeededEntropy(b"renewal"))


def test_RN09_a_manager_that_asks_after_a_roll_gets_a_credential_under_the_next_key(root: Root) -> None:
    before = made_identity(b"coord--A", root)
    after, held = rolled_from(before, root), manager_of(before)
    member = Member(held.raw, bytes(32), ACTIVE, (), -1)
    assert heard(before, member, held.kid) == (member, []), "nothing is due without a roll"
    waiting, outputs = heard(after, member, held.kid)
    (asked,) = outputs
    assert isinstance(asked, Ask)
    assert isinstance(asked.query, RegisterCredential)
    fresh = asked.query.credential
    assert Trust((root.pin,), SUITES).verify([fresh, *after.chain], Role.MANAGER, THEN).raw == fresh
    registered, told = renewal.registered(context_of(after), NM, waiting, Receipt(b""), WHEN)
    assert [type(output) for output in told] == [Tell]
    done, said = heard(after, registered, kid_of(fresh))
    assert said == [CredentialRenewed(NM, fresh, SignedCredential.decode(fresh).claims.exp)]
    assert heard(after, done, kid_of(fresh)) == (done, []), "two who agree fall silent"


@pytest.mark.parametrize("known", [False, True])
def test_RN09_what_the_old_key_had_begun_is_begun_anew(root: Root, known: bool) -> None:
    before = made_identity(b"coord--A", root)
    after, held, newer = rolled_from(before, root), manager_of(before), manager_of(before, serial=b"newer---")
    member = Member(held.raw, bytes(32), ACTIVE, (), -1, renewal=Renewal(newer.raw, known, THEN))
    acts: list[Callable[[], renewal.Decided]] = [
        lambda: heard(after, member, held.kid),
        lambda: renewal.due(context_of(after), NM, member, WHEN, SeededEntropy(b"renewal")),
    ]
    for act in acts:
        _, (asked,) = act()
        assert isinstance(asked, Ask)
        assert isinstance(asked.query, RegisterCredential)
        fresh = SignedCredential.decode(asked.query.credential)
        assert fresh.verified_by(SUITES[1].verify_key(after.key.public)).raw == fresh.raw
    if known:  # the manager has taken it just before the roll: that counts, and the next one follows
        taken, (renewed, asked) = heard(after, member, newer.kid)
        assert isinstance(renewed, CredentialRenewed)
        assert isinstance(asked, Ask)
        assert taken.credential == newer.raw
