"""Triad-1's messages, each declared once. Neither this room nor `crypto` knows the other."""
