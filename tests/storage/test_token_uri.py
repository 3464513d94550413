"""Which key in which token: RFC 7512, and nothing that we would have to guess."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.errors import CallerFault
from keymote.storage.seal_pkcs11.uri import TokenUri

MODULE = "module-path=/usr/lib/m.so"


def test_KT12_every_attribute_is_read_and_percent_decoded() -> None:
    uri = TokenUri.parse(
        "pkcs11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil,%20Inc.;serial=0A1;model=1.0;object=kek;"
        f"id=%01%fe;type=secret-key?{MODULE}&pin-source=file:/etc/token%20pin"
    )
    assert (uri.token, uri.manufacturer, uri.serial, uri.model) == (
        "The Software PKCS#11", "Snake Oil, Inc.", "0A1", "1.0"
    )  # fmt: skip
    assert (uri.object, uri.id) == ("kek", b"\x01\xfe")
    assert (uri.module, uri.pin_file) == (Path("/usr/lib/m.so"), Path("/etc/token pin"))
    assert uri.name.endswith(";type=secret-key")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file:/kek", "no PKCS#11 URI"),
        (f"pkcs11:object=kek?{MODULE}", "names no token"),
        (f"pkcs11:token=km?{MODULE}", "names no key"),
        ("pkcs11:token=km;object=kek", "which module"),
        ("pkcs11:token=km;object=kek?module-path=lib/m.so", "which module"),
        (f"pkcs11:token=km;object=kek;type=private?{MODULE}", "secret-key"),
        (f"pkcs11:token=km;token=other;object=kek?{MODULE}", "stands twice"),
        (f"pkcs11:token=km;object=kek?{MODULE}&{MODULE}", "stands twice"),
        (f"pkcs11:token=km;slot-id=3;object=kek?{MODULE}", "'slot-id' in a PKCS#11 URI is not known"),
        (f"pkcs11:token=km;object=kek;x-vendor=1?{MODULE}", "not known"),
        (f"pkcs11:token=km;object=kek?{MODULE}&module-name=m", "not known"),
        (f"pkcs11:token=;object=kek?{MODULE}", "no value"),
        (f"pkcs11:token;object=kek?{MODULE}", "no value"),
        (f"pkcs11:token=a b;object=kek?{MODULE}", "no value"),
        (f"pkcs11:token=a%2;object=kek?{MODULE}", "no value"),
        (f"pkcs11:token=km;object=%ff?{MODULE}", "UTF-8"),
        ("pkcs11:", "names no token"),
    ],
)
def test_KT12_what_is_unknown_double_or_missing_is_refused(text: str, says: str) -> None:
    with pytest.raises(CallerFault, match=says):
        TokenUri.parse(text)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("pin-value=1234", "everybody who sees the URI"),
        ("pin-source=|/usr/bin/askpass", "absolute path"),
        ("pin-source=pin", "absolute path"),
        ("pin-source=file:pin", "absolute path"),
    ],
)
def test_KT03_a_pin_comes_from_a_file_and_from_nowhere_else(query: str, says: str) -> None:
    with pytest.raises(CallerFault, match=says) as caught:
        TokenUri.parse(f"pkcs11:token=km;object=kek?{MODULE}&{query}")
    assert "1234" not in str(caught.value)


def test_KT03_the_environment_names_the_file_of_the_pin_when_the_uri_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = TokenUri.parse(f"pkcs11:token=km;object=kek?{MODULE}")
    said = TokenUri.parse(f"pkcs11:token=km;object=kek?{MODULE}&pin-source=/etc/pin")
    monkeypatch.delenv("KEYMOTE_PIN_FILE", raising=False)
    assert silent.pin_place() is None
    monkeypatch.setenv("KEYMOTE_PIN_FILE", "/run/pin")
    assert (silent.pin_place(), said.pin_place()) == (Path("/run/pin"), Path("/etc/pin"))


@given(text=st.text(max_size=60))
def test_KT12_any_text_is_read_or_refused(text: str) -> None:
    for uri in (text, f"pkcs11:{text}", f"pkcs11:token=km;object=kek;{text}?{MODULE}&{text}"):
        try:
            assert TokenUri.parse(uri).text == uri
        except CallerFault as fault:
            assert fault.do or fault.what  # noqa: PT017  said in words
