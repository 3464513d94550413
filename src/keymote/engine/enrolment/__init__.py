"""Enrolment (Triad-1 2.4): the device's side, the registrar's side, and the schedule that they share."""
