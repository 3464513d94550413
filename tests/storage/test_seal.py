"""Keys at rest: the right key opens, every other key, place or byte is refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.private_files import write_private
from keymote.storage.seal import OVERHEAD_BYTES, DataKey, FileKey, Tampered, file_of, located, open_key

ENTROPY = SeededEntropy(b"seal")
PLACE = ("cell", "link", b"12345678", 7)


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    first = open_key(f"file:{path}", ENTROPY, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_key(f"file:{path}", ENTROPY, create=True).fingerprint == first.fingerprint
    assert open_key(path.as_uri(), ENTROPY).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:/nowhere/kek", "cannot read"),
        ("file://host/kek", "names no key"),
        ("file:", "names no key"),
        ("pkcs11:token=x", "names no key"),
        ("file:/kek?x", "names no key"),
        ("/etc/key", "names no key"),
    ],
)
def test_a_uri_that_names_no_key_says_what_to_write(uri: str, says: str) -> None:
    with pytest.raises(CallerFault, match=says):
        open_key(uri, ENTROPY)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    open_key(f"file:{path}", ENTROPY, create=True)
    path.chmod(0o640)
    with pytest.raises(CallerFault, match=f"{path} can be read by others"):
        open_key(f"file:{path}", ENTROPY)


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 33, "\u00e4" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kek"
    write_private(path, content.encode())
    with pytest.raises(CallerFault, match="key"):
        open_key(f"file:{path}", ENTROPY)


@pytest.mark.parametrize(
    ("uri", "where"),
    [
        ("", "file:/role%20one/key"),
        ("file:key-2", "file:/role%20one/key-2"),
        ("file:/elsewhere/k%20y", "file:/elsewhere/k%20y"),
        ("pkcs11:token=km;object=kek", "pkcs11:token=km;object=kek"),
    ],
)
def test_a_key_is_found_from_the_directory_of_its_role(uri: str, where: str) -> None:
    assert located(uri, Path("/role one")) == where
    assert file_of(where) == (None if uri.startswith("pkcs11") else Path(where[5:].replace("%20", " ")))


def test_KT07_the_wrong_key_is_named_and_so_is_the_store(tmp_path: Path) -> None:
    right, wrong = (FileKey(tmp_path / name, ENTROPY, create=True) for name in ("right", "wrong"))
    wrapped = DataKey.fresh(ENTROPY).wrapped_by(right)
    with pytest.raises(CallerFault, match=r"my\.store was sealed under key .*, but file:.*/wrong holds") as caught:
        DataKey.unwrapped(wrapped, wrong, ENTROPY, where="my.store")
    assert right.fingerprint.hex() in str(caught.value)
    assert wrong.fingerprint.hex() in str(caught.value)
    assert wrapped[:8] == right.fingerprint
    forged = wrong.fingerprint + wrapped[8:]
    with pytest.raises(CallerFault, match="does not open this store"):
        DataKey.unwrapped(forged, wrong, ENTROPY, where="my.store")


def test_a_data_key_survives_another_key_encryption_key(tmp_path: Path) -> None:
    old, new = (FileKey(tmp_path / name, ENTROPY, create=True) for name in ("old", "new"))
    key = DataKey.fresh(ENTROPY)
    sealed = key.seal(b"record", *PLACE)
    again = DataKey.unwrapped(key.wrapped_by(old), old, ENTROPY, where="s")
    rewrapped = DataKey.unwrapped(again.wrapped_by(new), new, ENTROPY, where="s")
    assert rewrapped.open(sealed, *PLACE) == b"record"


@given(record=st.binary(max_size=200))
def test_DR08_a_row_opens_in_its_place_only(record: bytes) -> None:
    key = DataKey(Secret(b"k" * 32), SeededEntropy(record))
    sealed = key.seal(record, *PLACE)
    assert len(sealed) == len(record) + OVERHEAD_BYTES
    assert key.open(sealed, *PLACE) == record
    for place in [
        ("alias", "link", b"12345678", 7),
        ("cell", "peer", b"12345678", 7),
        ("cell", "link", b"12345679", 7),
        ("cell", "link", b"12345678", 6),
    ]:
        with pytest.raises(Tampered):
            key.open(sealed, *place)


def test_DR08_every_changed_byte_and_every_cut_is_refused() -> None:
    key = DataKey(Secret(b"k" * 32), ENTROPY)
    sealed = key.seal(b"record", *PLACE)
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(Tampered, match="cell/link/3132333435363738/7"):
            key.open(changed, *PLACE)
        with pytest.raises(Tampered):
            key.open(sealed[:index], *PLACE)


def test_marks_differ_by_place_and_by_key() -> None:
    one, two = (DataKey(Secret(byte * 32), ENTROPY) for byte in (b"1", b"2"))
    marks = {one.mark(*PLACE), two.mark(*PLACE), one.mark("cell", "link", b"12345678", 8), one.mark("cell", "lin")}
    assert len(marks) == 4
    assert all(0 <= mark < 2**256 for mark in marks)
