"""Gateways and workers on one store in PostgreSQL: faults of their processes, of the store and of the ways to it."""
