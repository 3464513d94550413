"""What is done with a token once its module is loaded: find it, log in, find the key, wrap or unwrap. Home of `pkcs11`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, assert_never

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11 import exceptions as failures

from keymote.crypto.kdf import sha256
from keymote.errors import CallerFault
from keymote.storage.private_files import read_private
from keymote.storage.seal_pkcs11.faults import KeyMissing, KeyUnfit, PinRefused, TokenAway
from keymote.storage.seal_pkcs11.key import Act, Answer
from keymote.storage.seal_pkcs11.uri import PIN_FILE_VARIABLE, TokenUri

KEY_BYTES: Final = 32
_CONSTANT: Final = sha256(b"keymote/kek/fingerprint")
"""What a key wraps to be told from others: public, as long as a data key, and nobody's data key."""
_FIT: Final = (
    (Attribute.KEY_TYPE, KeyType.AES, "is not AES"),
    (Attribute.VALUE_LEN, KEY_BYTES, f"has not {KEY_BYTES} bytes"),
    (Attribute.PRIVATE, True, "can be used without the PIN"),
    (Attribute.SENSITIVE, True, "can be read (not CKA_SENSITIVE)"),
    (Attribute.EXTRACTABLE, False, "can be taken out of the token (CKA_EXTRACTABLE)"),
    (Attribute.WRAP, True, "may not wrap"),
    (Attribute.UNWRAP, True, "may not unwrap"),
)
"""Attribute, the value that it must have, and what is wrong otherwise."""
_MADE: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.WRAP: True,
    Attribute.UNWRAP: True,
    **dict.fromkeys((Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY), False),
}
_PLAIN: Final[dict[Attribute, Any]] = {
    Attribute.CLASS: ObjectClass.SECRET_KEY,
    Attribute.KEY_TYPE: KeyType.AES,
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}
"""How a data key stands in the token while it is wrapped or handed over: of this session only, never on its disk."""
_NOT_OPENED: Final = (
    failures.DataInvalid,
    failures.EncryptedDataInvalid,
    failures.EncryptedDataLenRange,
    failures.GeneralError,  # SoftHSM's word for a failed integrity check
    failures.WrappedKeyInvalid,
    failures.WrappedKeyLenRange,
)


def answer(uri: TokenUri, act: Act, data: bytes) -> Answer:
    """Do what is asked with the key of `uri`; raises as `key.Ask` says."""
    with _translated(uri):
        token = _token(uri)
        with token.open(rw=act is Act.MAKE, user_pin=_pin(uri, token)) as session:
            key = _key(uri, session, create=act is Act.MAKE)
            match act:
                case Act.LOOK | Act.MAKE:
                    return Answer(_wrapped(session, key, _CONSTANT), imported=not key[Attribute.LOCAL])
                case Act.WRAP:
                    return Answer(_wrapped(session, key, data))
                case Act.UNWRAP:
                    return Answer(_unwrapped(uri, key, data))
                case never:
                    assert_never(never)


# ------------------------------------------------------------------ the token and its PIN


def _module(uri: TokenUri) -> Any:
    if not uri.module.is_file():
        raise CallerFault(f"there is no PKCS#11 module {uri.module}", do="mend module-path, or install the module")
    try:
        return pkcs11.lib(str(uri.module))
    except failures.PKCS11Error as error:
        if type(error) is not failures.PKCS11Error:  # it was loaded, and does not start
            raise
        raise CallerFault(f"{uri.module} is no PKCS#11 module: {error}", do="mend module-path") from error


def _token(uri: TokenUri) -> pkcs11.Token:
    """Return the one token that the URI names."""
    present = [slot.get_token() for slot in _module(uri).get_slots(token_present=True)]
    ready = [token for token in present if TokenFlag.TOKEN_INITIALIZED in token.flags]
    fit = [token for token in ready if _fits(uri, token)]
    if not fit:
        labels = ", ".join(repr(token.label) for token in ready)
        raise TokenAway(
            f"{uri.module} shows no token of {uri.name}: there is {labels or 'none'}",
            do="plug it in; is the module's configuration the one of this user?",
        )
    if len(fit) > 1:
        raise CallerFault(f"{uri.name} fits {len(fit)} tokens", do="add serial=NUMBER")
    token: pkcs11.Token = fit[0]
    return token


def _fits(uri: TokenUri, token: pkcs11.Token) -> bool:
    pairs = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode("utf-8", "replace").strip()),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
    )
    return all(wanted in ("", shown) for wanted, shown in pairs)


def _pin(uri: TokenUri, token: pkcs11.Token) -> str | None:
    """Return the PIN; PinRefused when there is none, or when trying it could lock the token."""
    if TokenFlag.LOGIN_REQUIRED not in token.flags:
        return None
    place = uri.pin_place()
    if place is None:
        raise PinRefused(
            f"the token of {uri.name} wants a PIN",
            do=f"add &pin-source=file:/path, or name its file in {PIN_FILE_VARIABLE}",
        )
    refuse_to_lock(token.flags, uri, f"log in once by its own tool, with the PIN that belongs in {place}")
    pin = read_private(place, "PIN file").removesuffix(b"\n").removesuffix(b"\r")
    if not pin or b"\n" in pin:
        raise PinRefused(f"{place} holds no PIN", do="write it as the only line")
    try:
        return pin.decode()
    except UnicodeDecodeError as error:
        raise PinRefused(f"{place} holds no PIN: it is not UTF-8") from error


def refuse_to_lock(flags: TokenFlag, uri: TokenUri, do: str) -> None:
    """Raise PinRefused for a locked token, and for one that a further wrong PIN would lock."""
    if TokenFlag.USER_PIN_LOCKED in flags:
        raise PinRefused(f"the token of {uri.name} is locked", do="its security officer unlocks it by its own tool")
    if TokenFlag.USER_PIN_FINAL_TRY in flags:
        raise PinRefused(f"one more wrong PIN locks the token of {uri.name}, so none was tried", do=do)


# ------------------------------------------------------------------ the key


def _key(uri: TokenUri, session: pkcs11.Session, *, create: bool) -> Any:
    """Return the one key that the URI names, fit to wrap data keys; with `create`, made when there is none."""
    wanted: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.SECRET_KEY}
    if uri.object:
        wanted[Attribute.LABEL] = uri.object
    if uri.id:
        wanted[Attribute.ID] = uri.id
    found = list(session.get_objects(wanted))
    if not found and create:
        found = [
            session.generate_key(
                KeyType.AES,
                KEY_BYTES * 8,
                id=uri.id or os.urandom(8),
                label=uri.object or "keymote",
                store=True,
                template=_MADE,
            )
        ]
    if not found:
        raise KeyMissing(f"the token has no key of {uri.name}", do="mend object or id; only `init` makes a key")
    if len(found) > 1:
        raise KeyUnfit(f"{uri.name} fits {len(found)} keys", do="add id=%01%02 of the right one")
    wrong = [said for attribute, right, said in _FIT if _attribute(found[0], attribute) != right]
    if wrong:
        raise KeyUnfit(
            f"the key of {uri.name} {', '.join(wrong)}", do="name another one; a missing key is made as it must be"
        )
    return found[0]


def _attribute(key: pkcs11.Object, attribute: Attribute) -> Any:
    """Return an attribute, None when the token does not tell it: what is not told is not trusted."""
    try:
        return key[attribute]
    except failures.PKCS11Error:
        return None


def _wrapped(session: pkcs11.Session, key: Any, data: bytes) -> bytes:
    """Return `data` wrapped (RFC 3394): 8 bytes longer."""
    plain: Any = session.create_object({**_PLAIN, Attribute.VALUE: data})
    wrapped: bytes = key.wrap_key(plain, mechanism=Mechanism.AES_KEY_WRAP)
    return wrapped


def _unwrapped(uri: TokenUri, key: Any, data: bytes) -> bytes:
    try:
        plain = key.unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.AES, data, mechanism=Mechanism.AES_KEY_WRAP, template=_PLAIN
        )
    except _NOT_OPENED as error:
        raise KeyUnfit(
            f"the key of {uri.name} does not open this store ({type(error).__name__})", do="use the key that made it"
        ) from error
    value: bytes = plain[Attribute.VALUE]
    return value


# ------------------------------------------------------------------ what a module answers


@contextmanager
def _translated(uri: TokenUri) -> Iterator[None]:
    """Say what a module's refusal means for whoever named the URI."""
    try:
        yield
    except (failures.PinIncorrect, failures.PinInvalid, failures.PinLenRange) as error:
        raise PinRefused(
            f"the token of {uri.name} refuses the PIN of {uri.pin_place()}",
            do="write the right one there before you try again: a few wrong ones lock a token",
        ) from error
    except (failures.PinLocked, failures.PinExpired, failures.UserPinNotInitialized) as error:
        raise PinRefused(
            f"the token of {uri.name} lets nobody in ({type(error).__name__})", do="see to it by its own tool"
        ) from error
    except (failures.MechanismInvalid, failures.FunctionNotSupported) as error:
        raise KeyUnfit(
            f"the token of {uri.name}, or its module, has no AES key wrap (CKM_AES_KEY_WRAP, RFC 3394)",
            do="name the token's own module: some relays do not carry it; else another token",
        ) from error
    except failures.PKCS11Error as error:
        said = str(error) or type(error).__name__
        raise TokenAway(f"the token of {uri.name} fails: {said}", do="try it by its own tool") from error
