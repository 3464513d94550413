"""The edge: enrols devices, adds its share to every key of theirs, and works on when the coordinator is away."""
