"""What a refusal of the engines becomes for an application, by what it can do about it."""

import pytest

from keymote.device.faults import Expired, NotReady, Replayed, refused_by_group
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
