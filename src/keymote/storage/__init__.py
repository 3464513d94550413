"""Where the rows of cells are kept; each module is imported by name, so that a device pays for its own store only."""
