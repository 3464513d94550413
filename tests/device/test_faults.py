"""What a refusal of the engines becomes for an application, by what it can do about it."""

import pytest

from keymote.device.faults import Expired, NotReady, Replayed, Revoked, refused_by_group, refused_topic
from keymote.errors import ErrorCode, KeymoteError, PeerFault


@pytest.mark.parametrize(
    ("code", "kind", "do"),
    [
        (ErrorCode.E_REPLAY, Replayed, "drop the record"),
        (ErrorCode.E_EPOCH, Expired, "next epoch"),
        (ErrorCode.E_LIMIT, Expired, "next epoch"),
        (ErrorCode.E_STATE, NotReady, "try again"),
        (ErrorCode.E_AUTH, PeerFault, ""),
        (ErrorCode.E_UNKNOWN_ID, PeerFault, ""),
        (ErrorCode.E_FORMAT, PeerFault, ""),
    ],
)
def test_a_group_that_refuses_says_what_can_be_done(code: ErrorCode, kind: type[KeymoteError], do: str) -> None:
    error = refused_by_group(code, "why")
    assert type(error) is kind
    assert isinstance(error, KeymoteError)
    assert do in error.do
    assert not isinstance(error, PeerFault) or error.code is code
    assert "why" in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "exit_code", "said"),
    [
        (ErrorCode.E_CRED, Revoked, 4, "ask the operator for a grant"),
        (ErrorCode.E_NOSHARE, Revoked, 4, "ask the operator for a grant"),
        (ErrorCode.E_TIMEOUT, NotReady, 3, "out of reach, or this client was revoked or removed there"),
        (ErrorCode.E_LIMIT, NotReady, 3, "try again later"),
    ],
)
def test_TQ44_why_there_is_no_key_of_a_topic(
    code: ErrorCode, kind: type[KeymoteError], exit_code: int, said: str
) -> None:
    error = refused_topic(code, "ward/7/hr", 1)
    assert type(error) is kind
    assert isinstance(error, KeymoteError)
    assert error.exit_code == exit_code
    assert "to publish to 'ward/7/hr'" in str(error) and said in str(error)
