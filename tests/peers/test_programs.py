"""The real third-party programs that `make peers` promises are there and start."""

import subprocess

import pytest

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("coap-client-openssl", [], "CoAP implementation"),
        ("coap-client-gnutls", [], "CoAP implementation"),
        ("coap-client-notls", [], "CoAP implementation"),
        ("tshark", ["--version"], "TShark"),
        ("dumpcap", ["--version"], "Dumpcap"),
        ("openssl", ["version"], "OpenSSL"),
        ("aiocoap-client", ["--help"], "usage: aiocoap-client"),
    ],
)
def test_program_is_there(program, name, arguments, says):
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert says in done.stdout + done.stderr
