"""A hospital in virtual time: patients who walk from broker to broker, and caregivers who must not miss a reading (paper 002)."""

from keymote.lab.ward.hospital import Hospital
from keymote.lab.ward.plan import WardPlan

__all__ = ["Hospital", "WardPlan"]
