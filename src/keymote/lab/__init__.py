"""The laboratory: a second host for the product's engines, the schemes as published, attacks and experiments."""
