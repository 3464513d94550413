"""A village in virtual time: the product's engines and policy, a gateway without its coordinator, meters with something to say."""

from keymote.lab.village.measures import Negotiation, negotiations, opened_outside, readable
from keymote.lab.village.office import Office, SealedRecord
from keymote.lab.village.steward import Decided, Steward
from keymote.lab.village.uplink import Uplink, Window
from keymote.lab.village.village import Meter, Village, village

__all__ = [
    "Decided",
    "Meter",
    "Negotiation",
    "Office",
    "SealedRecord",
    "Steward",
    "Uplink",
    "Village",
    "Window",
    "negotiations",
    "opened_outside",
    "readable",
    "village",
]
