"""One encrypted file: opened by its passphrase alone, and only as it was written."""

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage import backup
from keymote.storage.backup import read_backup, write_backup

PASSPHRASE = Secret(b"correct horse battery")
FILES = {"a.json": b"{}", "empty": b"", "large.db": bytes(i % 251 for i in range(9000))}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "LOG_N", 10)
    monkeypatch.setattr(backup, "CHUNK", 4096)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "backup"
    write_backup(path, FILES.items(), PASSPHRASE, SeededEntropy(b"backup"))
    return path


def test_what_was_written_is_read_and_nothing_shows(written) -> None:
    assert read_backup(written, PASSPHRASE) == FILES
    assert written.stat().st_mode & 0o777 == 0o600
    assert FILES["large.db"][:32] not in written.read_bytes()
    assert b"large.db" not in written.read_bytes()


def test_another_passphrase_opens_nothing(written) -> None:
    with pytest.raises(CallerFault, match="passphrase is wrong"):
        read_backup(written, Secret(b"correct horse bakery"))


def test_every_changed_byte_is_noticed(written) -> None:
    good = written.read_bytes()
    for at in [*range(40), *range(40, len(good), 97), len(good) - 1]:
        changed = bytearray(good)
        changed[at] ^= 1
        written.write_bytes(bytes(changed))
        with pytest.raises(CallerFault):
            read_backup(written, PASSPHRASE)


def test_chunks_cannot_be_left_out_moved_or_repeated(written) -> None:
    good = written.read_bytes()
    header, chunks, at = good[:21], [], 21
    while at < len(good):
        size = 4 + int.from_bytes(good[at : at + 4], "big")
        chunks.append(good[at : at + size])
        at += size
    assert len(chunks) == 3
    for wrong in (chunks[:-1], chunks[1:], [chunks[1], chunks[0], chunks[2]], [chunks[0], *chunks], chunks[:1], []):
        written.write_bytes(header + b"".join(wrong))
        with pytest.raises(CallerFault):
            read_backup(written, PASSPHRASE)


def test_a_cut_file_and_a_strange_one_are_said_so(written) -> None:
    good = written.read_bytes()
    for size in (0, 3, 20, 23, 1000, len(good) - 1):
        written.write_bytes(good[:size])
        with pytest.raises(CallerFault):
            read_backup(written, PASSPHRASE)
    written.write_bytes(b"KMB1\xff" + bytes(100))
    with pytest.raises(CallerFault, match="not a backup"):
        read_backup(written, PASSPHRASE)


def test_nothing_is_overwritten_and_short_passphrases_are_refused(written) -> None:
    with pytest.raises(CallerFault, match="exists"):
        write_backup(written, FILES.items(), PASSPHRASE, SeededEntropy(b"b"))
    with pytest.raises(CallerFault, match="passphrase"):
        write_backup(written.with_name("other"), FILES.items(), Secret(b"short"), SeededEntropy(b"b"))


def test_names_that_lead_elsewhere_are_refused(tmp_path) -> None:
    for name in ("../up", "/etc/passwd", "..", ""):
        path = tmp_path / "backup"
        write_backup(path, [(name, b"x")], PASSPHRASE, SeededEntropy(b"b"))
        with pytest.raises(CallerFault):
            read_backup(path, PASSPHRASE)
        path.unlink()
