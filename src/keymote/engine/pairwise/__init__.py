"""The pairwise session (Triad-1 2.5 to 2.8): devices, managers, and the schedule that they share."""
