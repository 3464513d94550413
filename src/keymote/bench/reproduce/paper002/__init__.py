"""Paper 002's evaluation: what a reading costs a Z1, how long its batteries last, and what a walk through the wards adds."""
