"""Groups as a service, in real processes: invited over LINK, formed and rekeyed by multicast, told to the coordinator."""

from collections.abc import Iterator

import pytest
from gateways import RUN_S, Group
from operators import Operator, operators, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        for device in operator.add_devices(3):
            device.enrolled()
        yield operator


def test_GS10_three_devices_of_a_manager_agree_on_a_key(street: Operator) -> None:
    group = Group.create(street, "street", street.devices, multicast=True)
    epoch = group.agreed(*street.devices)
    until(lambda: group.view()["epoch"] == epoch, RUN_S)
    view = group.view()
    assert view["key_id"] == group.at(street.devices[0])["key_id"]
    assert (view["n"], view["waiting"], view["conflicts"]) == (3, [], [])
