"""A coordinator's directory: private, sealed, movable, and clear about what is wrong with it."""

import shutil
import time
from pathlib import Path

import pytest

from keymote.cli.authority import pin_file
from keymote.coordinator.app.directory import Directory, token_in
from keymote.coordinator.authority import Root
from keymote.crypto.entropy import SystemEntropy
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.transports import tls
from keymote.wire import admin, admin_files

NOW = int(time.time())
HOSTS = ["localhost", "127.0.0.1"]


@pytest.fixture(scope="module")
def authority() -> Root:
    return Root.create(1, SystemEntropy())


def certify(folder: Path, root: Root, *, now: int = NOW, days: int = 730) -> None:
    request = admin_files.read_file((folder / "nc.req").read_bytes(), admin_files.RequestFile, "nc.req")
    credential = root.certify(admin.from_base64url(request.request), now, b"serial-1", days=days)
    carried = admin_files.CredentialFile(admin.to_base64url(credential.raw), pin_file(root))
    (folder / "nc.cred").write_bytes(admin_files.write_file(carried))


@pytest.fixture(scope="module")
def made(authority: Root, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    Directory.create(folder, "north", 1, HOSTS, SystemEntropy(), NOW)
    certify(folder, authority)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def use(folder: Path, now: int = NOW) -> Directory:
    """Do what the start of a coordinator does before it opens its databases."""
    opened = Directory.open(folder, SystemEntropy())
    opened.identity(now)
    authority = opened.authority()
    opened.renewed(authority, now)
    tls.server_context(folder / "tls.pem", folder / "tls.key", opened.password, authority.pem)
    opened.token()
    return opened


def test_a_directory_works_wherever_it_was_moved(copy: Path) -> None:
    opened = use(copy)
    assert opened.identity(NOW).nc_id == opened.nc_id
    assert opened.identity(NOW).key.public == admin.from_base64url(opened.held.sig_pk)


def test_secret_files_are_their_owners_only_and_show_no_seed(made: Path) -> None:
    opened = use(made)
    for name in ("key", "token", "ca.key", "tls.key", "coordinator.json"):
        assert (made / name).stat().st_mode & 0o777 == 0o600
    for path in made.iterdir():
        content = path.read_bytes()
        for secret in (opened.key.seed.expose(), opened.password.expose()):
            assert secret not in content
            assert secret.hex().encode() not in content
            assert admin.to_base64url(secret).encode() not in content


@pytest.mark.parametrize("suite", [2, 17])
def test_other_suites_are_certified_too(tmp_path: Path, suite: int) -> None:
    root = Root.create(17, SystemEntropy())
    Directory.create(tmp_path, "south", suite, HOSTS, SystemEntropy(), NOW)
    certify(tmp_path, root)
    assert use(tmp_path).identity(NOW).key.suite_id == suite


def test_a_key_may_live_elsewhere(tmp_path: Path, authority: Root) -> None:
    elsewhere = tmp_path / "other disk" / "kek"
    elsewhere.parent.mkdir()
    folder = tmp_path / "c"
    folder.mkdir()
    Directory.create(folder, "north", 1, HOSTS, SystemEntropy(), NOW, key_uri=f"file:{elsewhere}".replace(" ", "%20"))
    certify(folder, authority)
    assert elsewhere.exists()
    assert not (folder / "key").exists()
    use(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "nc.cred").unlink(), "authority certify"),
        (lambda f: (f / "nc.cred").write_text("{}"), "not a CredentialFile"),
        (lambda f: (f / "key").chmod(0o644), "chmod 600"),
        (lambda f: (f / "token").chmod(0o640), "chmod 600"),
        (lambda f: (f / "key").write_text("00" * 32 + "\n"), "was sealed under key"),
        (lambda f: (f / "key").write_text("zz"), "not a key file"),
        (lambda f: (f / "key").unlink(), "key-encryption key"),
        (lambda f: (f / "tls.key").unlink(), "tls.key"),
        (lambda f: (f / "tls.key").write_bytes((f / "ca.key").read_bytes()), "does not open or does not belong"),
        (lambda f: (f / "coordinator.json").unlink(), "coordinator init"),
        (lambda f: (f / "coordinator.json").write_text("[]"), "not a CoordinatorFile"),
    ],
    ids=[
        "no credential",
        "other credential file",
        "open key",
        "open token",
        "other key",
        "no hex",
        "no key",
        "no tls key",
        "other tls key",
        "no coordinator",
        "noise",
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(copy: Path, spoil: object, said: str) -> None:
    spoil(copy)  # type: ignore[operator]
    with pytest.raises(CallerFault) as fault:
        use(copy)
    assert said in str(fault.value)


def test_a_credential_for_another_key_is_not_taken(copy: Path, tmp_path: Path, authority: Root) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Directory.create(other, "other", 1, HOSTS, SystemEntropy(), NOW)
    certify(other, authority)
    shutil.copy(other / "nc.cred", copy / "nc.cred")
    with pytest.raises(CallerFault, match="another key"):
        use(copy)


def test_an_expired_credential_is_named(copy: Path, authority: Root) -> None:
    certify(copy, authority, days=1)
    use(copy)
    with pytest.raises(CallerFault, match="does not fit"):
        use(copy, NOW + 2 * 86400)


def test_the_server_certificate_is_renewed_in_time_and_for_other_hosts(copy: Path) -> None:
    opened = use(copy)
    before = (copy / "tls.pem").read_text()
    authority = opened.authority()
    assert not opened.renewed(authority, NOW)
    assert opened.renewed(authority, NOW + 300 * 86400)
    assert (copy / "tls.pem").read_text() != before
    (copy / "coordinator.json").write_text((copy / "coordinator.json").read_text().replace("localhost", "nc.example"))
    moved = Directory.open(copy, SystemEntropy())
    assert moved.renewed(authority, NOW + 300 * 86400)
    assert "nc.example" in tls.validity_of((copy / "tls.pem").read_text()).names


def test_a_second_coordinator_in_a_directory_is_refused(copy: Path) -> None:
    with pytest.raises(CallerFault, match="holds a coordinator already"):
        Directory.create(copy, "again", 1, HOSTS, SystemEntropy(), NOW)


def test_an_unknown_suite_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(PeerFault) as fault:
        Directory.create(tmp_path, "north", 99, HOSTS, SystemEntropy(), NOW)
    assert fault.value.code is ErrorCode.E_SUITE
    assert list(tmp_path.iterdir()) == []


def test_a_token_file_of_others_is_not_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o604)
    with pytest.raises(CallerFault):
        token_in(token)
    token.chmod(0o600)
    assert token_in(token).expose() == b"secret"
