"""What a coordinator's events mean for a manager."""

import pytest

from keymote.engine.faces import DropManager, ResumeDevice, RevokeDevice, SuspendDevice, enrolment_of, peer_manager
from keymote.manager.rules import command_for

ME, OTHER, DEVICE = b"M" * 8, b"O" * 8, b"D" * 8


@pytest.mark.parametrize(
    ("kind", "subject", "data", "expected"),
    [
        ("device.revoke", DEVICE, {"reason": 2}, (enrolment_of(DEVICE), RevokeDevice(2))),
        ("device.revoke", DEVICE, {}, (enrolment_of(DEVICE), RevokeDevice(0))),
        ("device.revoke", DEVICE, {"reason": 77}, (enrolment_of(DEVICE), RevokeDevice(0))),
        ("device.revoke", DEVICE, {"reason": "2"}, (enrolment_of(DEVICE), RevokeDevice(0))),
        ("device.retire", DEVICE, {}, (enrolment_of(DEVICE), RevokeDevice(4))),
        ("device.suspend", DEVICE, {}, (enrolment_of(DEVICE), SuspendDevice())),
        ("device.resume", DEVICE, {}, (enrolment_of(DEVICE), ResumeDevice())),
        ("manager.revoke", OTHER, {"reason": 1}, (peer_manager(OTHER), DropManager())),
        ("manager.revoke", ME, {"reason": 1}, None),
        ("session.revoke", DEVICE, {"reason": 1}, None),
        ("credential.superseded", DEVICE, {}, None),
        ("an event of a later version", DEVICE, {}, None),
    ],
)
def test_an_event_calls_for_at_most_one_command(kind, subject, data, expected) -> None:
    assert command_for(kind, subject, data, ME) == expected
