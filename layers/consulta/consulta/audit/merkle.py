"""The Merkle tree hash of RFC 6962, §2.1: pure."""

import hashlib
from collections.abc import Sequence

LEAF, NODE = b"\x00", b"\x01"


def root(leaves: Sequence[bytes]) -> str:
    """The root over ``leaves`` in their order, in hex; of none it is the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").hexdigest()
    # Level by level. A last one without a neighbour rises as it is, which is the tree of the RFC:
    # the left part of every node is the largest power of two that is smaller than the whole.
    level = [hashlib.sha256(LEAF + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        paired = [
            hashlib.sha256(NODE + level[n] + level[n + 1]).digest()
            for n in range(0, len(level) - 1, 2)
        ]
        level = paired + level[len(level) - len(level) % 2 :]
    return level[0].hex()


def chained(previous: str, hour: str, top: str) -> str:
    """The chain's next link: the one before, the hour and its root."""
    return hashlib.sha256(f"{previous}|{hour}|{top}".encode()).hexdigest()
