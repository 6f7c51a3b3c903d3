"""Which users a canary answers: a stable part of them."""

from __future__ import annotations

from hashlib import blake2b

from shoprank.traffic import STEPS


def step(user_id: str, model: str) -> int:
    """The user's place among 10,000, 0 to 9,999, the same always and everywhere for a model of that name.

    A canary of n steps answers the users at places below n, so a larger share only adds users.
    """
    digest = blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, key=model.encode()).digest()
    return int.from_bytes(digest) % STEPS
