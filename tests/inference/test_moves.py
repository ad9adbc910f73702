"""Moves: from wherever they start, runs end at one bound, which never falls on the way."""
