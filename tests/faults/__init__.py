"""Seeded faults against the real program, and a checker that holds what its callers saw to the promises."""
