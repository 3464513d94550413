"""A key in a token as stores see it, and the short process that stands between."""

import json
import sys
import time
from pathlib import Path

import pytest
from pkcs11 import TokenFlag
from tokens import MemoryToken

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.storage.seal import DataKey
from keymote.storage.seal_pkcs11.faults import FAULTS, KeyMissing, KeyUnfit, PinRefused, TokenAway
from keymote.storage.seal_pkcs11.key import Act, Answer, TokenKey, ask_process
from keymote.storage.seal_pkcs11.token import refuse_to_lock
from keymote.storage.seal_pkcs11.uri import TokenUri

ENTROPY = SeededEntropy(b"token")
URI = "pkcs11:token=km;object=%s?module-path=/usr/lib/m.so"


def child(source: str) -> tuple[str, ...]:
    """Return a program in the place of the process that meets the token."""
    return (sys.executable, "-c", source)


def test_KT01_a_data_key_comes_back_from_the_token_that_wrapped_it() -> None:
    token = MemoryToken()
    kek = TokenKey(URI % "kek", create=True, ask=token.ask)
    data_key = DataKey.fresh(ENTROPY)
    wrapped = data_key.wrapped_by(kek)
    assert len(wrapped) == 8 + 40
    again = DataKey.unwrapped(wrapped, TokenKey(URI % "kek", ask=token.ask), ENTROPY, where="s")
    assert again.open(data_key.seal(b"row", "place"), "place") == b"row"
    assert token.asked == [Act.MAKE, Act.WRAP, Act.LOOK, Act.UNWRAP]


def test_KT07_keys_of_a_token_are_told_apart_and_copies_are_not() -> None:
    token, copy = MemoryToken(), MemoryToken()
    one, two = (TokenKey(URI % name, create=True, ask=token.ask) for name in ("one", "two"))
    copy.keys[URI % "copied"] = token.keys[URI % "one"]
    copied = TokenKey(URI % "copied", ask=copy.ask)
    assert len(one.fingerprint) == 8
    assert one.fingerprint == copied.fingerprint != two.fingerprint
    with pytest.raises(CallerFault, match=r"s was sealed under key .*, but pkcs11:token=km;object=two"):
        DataKey.unwrapped(DataKey.fresh(ENTROPY).wrapped_by(one), two, ENTROPY, where="s")


def test_KT01_nothing_but_the_wrapped_key_opens(tmp_path: Path) -> None:
    token = MemoryToken()
    kek = TokenKey(URI % "kek", create=True, ask=token.ask)
    wrapped = kek.wrap(Secret(b"k" * 32))
    for changed in (wrapped[:-1] + b"\0", wrapped[:-8], b""):
        with pytest.raises(KeyUnfit):
            kek.unwrap(changed)
    with pytest.raises(KeyMissing):
        TokenKey(URI % "absent", ask=token.ask)


def test_KT05_the_process_answers_with_faults_that_say_what_to_do(tmp_path: Path) -> None:
    uri = f"pkcs11:token=km;object=kek?module-path={tmp_path}/absent.so"
    with pytest.raises(CallerFault, match=r"no PKCS#11 module .*absent\.so; mend module-path"):
        ask_process(uri, Act.LOOK, b"")
    (tmp_path / "absent.so").write_text("no module")
    with pytest.raises(CallerFault, match="is no PKCS#11 module"):
        ask_process(uri, Act.LOOK, b"")


def test_KT05_without_the_library_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['pkcs11'] = None; from keymote.storage.seal_pkcs11.process import main; main()"
    with pytest.raises(CallerFault, match=r"python-pkcs11.*pip install 'keymote\[pkcs11\]'"):
        ask_process(URI % "kek", Act.LOOK, b"", program=child(hide))


@pytest.mark.parametrize("fault", FAULTS)
def test_KT05_each_fault_comes_through_as_itself(fault: str) -> None:
    said = json.dumps({"fault": fault, "what": "this", "do": "that"})
    with pytest.raises(FAULTS[fault], match="this; that") as caught:
        ask_process(URI % "kek", Act.LOOK, b"", program=child(f"print({said!r})"))
    assert type(caught.value) is FAULTS[fault]


def test_KT02_a_token_that_hangs_or_dies_takes_nobody_with_it() -> None:
    began = time.monotonic()
    with pytest.raises(TokenAway, match=r"does not answer within 0\.3 s"):
        ask_process(URI % "kek", Act.LOOK, b"", program=child("import time; time.sleep(50)"), deadline_s=0.3)
    assert time.monotonic() - began < 20
    with pytest.raises(TokenAway, match="status -11"):
        ask_process(URI % "kek", Act.LOOK, b"", program=child("import os; os.kill(os.getpid(), 11)"))
    with pytest.raises(TokenAway, match="cannot start"):
        ask_process(URI % "kek", Act.LOOK, b"", program=("/nowhere/python",))
    assert issubclass(TokenAway, Unavailable)


def test_KT02_a_question_goes_by_the_pipe_and_not_by_the_command_line() -> None:
    echo = (
        "import json, sys; q = json.load(sys.stdin); assert not sys.argv[1:]; print(json.dumps({**q, 'imported': 0}))"
    )
    secret = bytes(range(32))
    assert ask_process(URI % "kek", Act.WRAP, secret, program=child(echo)) == Answer(secret, imported=False)


def test_KT04_the_last_try_of_a_pin_is_left_to_people() -> None:
    uri = TokenUri.parse(URI % "kek")
    refuse_to_lock(TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_COUNT_LOW, uri, "look")
    with pytest.raises(PinRefused, match=r"one more wrong PIN locks .* so none was tried; look"):
        refuse_to_lock(TokenFlag.USER_PIN_FINAL_TRY, uri, "look")
    with pytest.raises(PinRefused, match="is locked"):
        refuse_to_lock(TokenFlag.USER_PIN_LOCKED | TokenFlag.USER_PIN_FINAL_TRY, uri, "look")
