"""A soak of the running system with money: ``make soak COUNT=2000``.

Clients book and pay through the API while everything goes wrong that goes wrong: declined cards,
refunds, disputes, webhooks late, twice and in another order, providers that answer 429 and 500 or
not at all, and a worker that is killed in the middle of its work. Afterwards nothing may be left of
it: see :mod:`tests.soak.findings`.
"""
