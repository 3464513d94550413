"""Small files in JSON that operators carry from one role to another, and those in which an office keeps who it is.

A code or key stands only in a file for its owner, of mode 0600, or sealed.
"""

from typing import Self, TypeVar

from msgspec import DecodeError, Struct, ValidationError, json, structs

from keymote.errors import CallerFault
from keymote.wire.admin import AuditView, Base64Url, HeadView, HexId, Name, to_base64url


class RootPin(Struct, frozen=True, tag_field="format", tag="keymote-root/1"):
    """The authority's public key, which devices, managers and coordinators pin."""

    suite: int
    id: HexId
    sig_pk: Base64Url


class RequestFile(Struct, frozen=True, tag_field="format", tag="keymote-request/1"):
    """A coordinator's request to the authority: signed object of type 243."""

    name: str
    request: Base64Url


class CredentialFile(Struct, frozen=True, tag_field="format", tag="keymote-credential/1"):
    """The authority's answer: the coordinator's credential, and the root that issued it."""

    credential: Base64Url
    root: RootPin


class AuthorityFile(Struct, frozen=True, tag_field="format", tag="keymote-authority/2"):
    """The authority's own file: its root, and the seed of its key, sealed under a data key.

    `wrapped_key` is the data key, wrapped by the key of `key_uri` (empty: the file `key` beside).
    """

    root: RootPin
    key_uri: str
    wrapped_key: Base64Url
    sealed_seed: Base64Url

    def under(self, key_uri: str, wrapped_key: bytes) -> Self:
        """Return the same authority under another key-encryption key."""
        return structs.replace(self, key_uri=key_uri, wrapped_key=to_base64url(wrapped_key))


class FormerKey(Struct, frozen=True):
    """A signing key that a coordinator had: the authority's credential for it, and its last word, the hand-over.

    The hand-over is a credential of the coordinator for itself with the key that came next (CR-11).
    """

    credential: Base64Url
    handover: Base64Url


class CoordinatorFile(Struct, frozen=True, tag_field="format", tag="keymote-coordinator/2"):
    """A coordinator's own file: who it is, where it serves; its seed and the password of its PEM keys, both sealed.

    `wrapped_key` is the data key that seals them, wrapped by the key of `key_uri` (empty: the file `key` beside).
    `sealed_next` is the seed of the key that is to come next, empty when none is; `former` the keys before, oldest first.
    """

    nc_id: HexId
    name: Name
    suite: int
    sig_pk: Base64Url
    hosts: list[str]
    key_uri: str
    wrapped_key: Base64Url
    sealed_seed: Base64Url
    sealed_password: Base64Url
    sealed_next: Base64Url = ""
    former: list[FormerKey] = []

    def under(self, key_uri: str, wrapped_key: bytes) -> Self:
        """Return the same coordinator under another key-encryption key."""
        return structs.replace(self, key_uri=key_uri, wrapped_key=to_base64url(wrapped_key))

    def expecting(self, sealed_next: bytes) -> Self:
        """Return the same coordinator with a key that is to come next."""
        return structs.replace(self, sealed_next=to_base64url(sealed_next))

    def rolled(self, sig_pk: bytes, former: FormerKey) -> Self:
        """Return the same coordinator with the next key in force, whose public part is `sig_pk`; the old one is gone."""
        return structs.replace(
            self,
            sig_pk=to_base64url(sig_pk),
            sealed_seed=self.sealed_next,
            sealed_next="",
            former=[*self.former, former],
        )


class ManagerLabel(Struct, frozen=True, tag_field="format", tag="keymote-manager-label/1"):
    """What a new manager is given, mode 0600: who it is, its code, where its coordinators are and whom it pins."""

    nm_id: HexId
    name: str
    code: Base64Url
    nc_id: HexId
    coordinators: list[str]
    root: RootPin

    def __repr__(self) -> str:
        return f"ManagerLabel(nm_id={self.nm_id!r}, name={self.name!r})"


class AuditExport(Struct, frozen=True, tag_field="format", tag="keymote-audit/1"):
    """A whole audit log with its signed heads and the credentials under which they were signed.

    `former` are those of keys that the coordinator had before, oldest first.
    """

    nc_id: HexId
    credential: Base64Url
    entries: list[AuditView]
    heads: list[HeadView]
    former: list[Base64Url] = []


T = TypeVar("T")


def write_file(value: Struct) -> bytes:
    """Return a file's bytes: indented JSON with a closing line end."""
    return json.format(json.encode(value), indent=2) + b"\n"


def read_file(data: bytes, kind: type[T], name: str) -> T:
    """Return what a file called `name` says; CallerFault that names it when it is of another kind."""
    try:
        return json.decode(data, type=kind)
    except (DecodeError, ValidationError, UnicodeDecodeError) as error:
        raise CallerFault(f"{name} is not a {kind.__name__} file: {error}") from error
