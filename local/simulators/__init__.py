"""Stateful stand-ins for the payment providers and Google's calendars, for a laptop without keys.

Each speaks its provider's HTTP shapes and has a control plane of its own under `/_control`
(`control.py`), so that the product's functions differ only in a base address and a key.
"""
