"""Stands where the real package would stand, for tests of the server's side."""
