"""The scheme of paper 000 does what its equations say, so that an attack on it is an attack on what was printed."""

from pathlib import Path

import keymote
from keymote.crypto.entropy import SeededEntropy
from keymote.lab.published.pairwise import (
    SHARES,
    Air,
    Coordinator,
    Device,
    Manager,
    authenticate,
    enrol,
    exchange_shares,
    introduce,
)


def world() -> tuple[Device, Device, Manager, Manager, Air]:
    entropy = SeededEntropy(b"published")
    air = Air()
    managers, devices = [], []
    for n in (1, 2):
        manager = Manager(f"NM{n}", b"special%d" % n, Coordinator(), entropy.fork(f"nm{n}"))
        device = Device(f"D{n}", b"code%d" % n, entropy.fork(f"d{n}"))
        manager.codes[device.name] = device.code
        managers.append(manager)
        devices.append(device)
    return devices[0], devices[1], managers[0], managers[1], air


def test_enrolment_gives_an_elgamal_key_with_base_E1() -> None:
    one, _, nm, _, air = world()
    assert enrol(one, nm, air)
    found = nm.coordinator.register["D1"]
    assert found.curve.mul(one.d, found.E1) == found.E2
    assert found.curve.add(air.point("Selection", "e_NM"), air.point("Contribution", "V")) == found.E1


def test_a_wrong_code_is_not_welcome() -> None:
    one, _, nm, _, air = world()
    one.code = b"guess"
    assert not enrol(one, nm, air)
    assert nm.coordinator.register == {}


def test_devices_authenticate_and_hold_three_shares_each() -> None:
    one, two, nm1, nm2, air = world()
    assert enrol(one, nm1, air)
    assert enrol(two, nm2, air)
    introduce(one, two, nm1, nm2, air)
    assert authenticate(one, two, air)
    assert authenticate(two, one, air)
    held1, held2 = exchange_shares(one, two, nm1, nm2, air)
    assert len(held1.shares) == len(held2.shares) == 3
    assert held1.shares.keys() != held2.shares.keys()


def test_mended_deliveries_end_in_the_key_of_equation_9() -> None:
    one, two, nm1, nm2, air = world()
    enrol(one, nm1, air)
    enrol(two, nm2, air)
    held1, held2 = exchange_shares(one, two, nm1, nm2, air, mended=True)
    assert held1.key(one.curve) == held2.key(two.curve)
    assert set(held1.shares) == set(SHARES)


def test_a_stranger_with_other_credentials_does_not_authenticate() -> None:
    one, two, nm1, nm2, air = world()
    enrol(one, nm1, air)
    enrol(two, nm2, air)
    introduce(one, two, nm1, nm2, air)
    two.d += 1
    assert not authenticate(one, two, air)


def test_only_the_lab_reaches_the_published_schemes() -> None:
    source = Path(keymote.__file__).parent
    naming = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "lab.published" in path.read_text() and not path.relative_to(source).as_posix().startswith("lab/")
    ]
    assert naming == []
