"""The serving harness: what ../run.py is made of."""
