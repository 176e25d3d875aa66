"""The Merkle root against the definition of RFC 6962 as it is written there."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from consulta.audit import merkle


def naive(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, §2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_the_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    assert merkle.root(leaves) == naive(leaves).hex()


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=40), st.data())
def test_another_leaf_or_order_is_another_root(leaves: list[bytes], data: st.DataObject) -> None:
    other = list(leaves)
    at = data.draw(st.integers(0, len(leaves) - 1))
    other[at] = other[at] + b"x"
    assert merkle.root(other) != merkle.root(leaves)
    assert merkle.root(leaves[:at] + leaves[at + 1 :]) != merkle.root(leaves)
    if leaves != leaves[::-1]:
        assert merkle.root(leaves[::-1]) != merkle.root(leaves)


def test_the_known_roots() -> None:
    # Certificate Transparency's own test vectors.
    leaves = [b"", b"\x00", b"\x10"]
    expected = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ]
    assert [merkle.root(leaves[:n]) for n in range(4)] == expected


def test_a_link_of_the_chain_depends_on_all_it_joins() -> None:
    one = merkle.chained("0", "2026-11-20T10", "aa")
    assert len({one, *(merkle.chained(*c) for c in (("1", "2026-11-20T10", "aa"),))}) == 2
    assert one != merkle.chained("0", "2026-11-20T11", "aa")
    assert one != merkle.chained("0", "2026-11-20T10", "ab")
