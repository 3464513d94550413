"""REST bodies and carried files: one form each, no secret in a repr or a message."""

import pytest

from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import admin, admin_files

CODE = admin.to_base64url(b"a code of sixteen+"[:16])
ROOT = admin_files.RootPin(1, "00" * 8, admin.to_base64url(bytes(32)))
LABEL = admin_files.ManagerLabel("11" * 8, "north", CODE, "22" * 8, ["https://127.0.0.1:8443"], ROOT)


@pytest.mark.parametrize("raw", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64url_has_one_form(raw: bytes) -> None:
    text = admin.to_base64url(raw)
    assert admin.from_base64url(text) == raw
    assert "=" not in text


@pytest.mark.parametrize("text", ["=", "YQ==", "YR", "a", "+/+/", "ä", "YQ\n"])
def test_other_forms_of_base64url_are_refused(text: str) -> None:
    with pytest.raises(PeerFault) as fault:
        admin.from_base64url(text)
    assert fault.value.code is ErrorCode.E_FORMAT


@pytest.mark.parametrize("text", ["", "00", "0" * 15 + "G", "A" * 16, "0" * 17, "００００００００００００００００"])
def test_other_forms_of_an_id_are_refused(text: str) -> None:
    with pytest.raises(PeerFault) as fault:
        admin.id_of(text)
    assert fault.value.code is ErrorCode.E_FORMAT


def test_unknown_members_of_a_request_are_refused() -> None:
    with pytest.raises(PeerFault):
        admin.decode(b'{"upto": 1, "admin": true}', admin.Acknowledge)
    assert admin.decode(b'{"upto": 1}', admin.Acknowledge) == admin.Acknowledge(1)


@pytest.mark.parametrize("endpoint", ["http://x", "coap://", "coap://a/b", "coap://a?b", "x coap://a"])
def test_an_endpoint_is_a_coap_address_without_a_path(endpoint: str) -> None:
    with pytest.raises(PeerFault):
        admin.decode(b'{"endpoint": "%s"}' % endpoint.encode(), admin.Endpoint)


def test_a_code_stands_in_no_repr_and_no_error() -> None:
    assert CODE not in repr(LABEL)
    assert CODE not in repr(admin.AddManager("11" * 8, "north", CODE))
    with pytest.raises(PeerFault) as fault:
        admin.decode(b'{"nm_id": "x", "name": "north", "code": "%s"}' % CODE.encode(), admin.AddManager)
    assert CODE not in str(fault.value)


def test_a_file_says_of_which_kind_it_is() -> None:
    written = admin_files.write_file(LABEL)
    assert admin_files.read_file(written, admin_files.ManagerLabel, "north.label") == LABEL
    with pytest.raises(CallerFault, match=r"north\.label is not a RootPin file"):
        admin_files.read_file(written, admin_files.RootPin, "north.label")
    with pytest.raises(CallerFault, match=r"x is not a RootPin file"):
        admin_files.read_file(b"\xff\xfe", admin_files.RootPin, "x")
