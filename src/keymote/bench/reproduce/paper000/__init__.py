"""Paper 000's evaluation: what its phases cost on explicit devices, beside what it claims and what others would run."""
