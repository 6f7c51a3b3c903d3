"""Products of columns with each other, of low rank, before the hidden layers."""

from __future__ import annotations

from typing import Any

from keras import layers


class Cross(layers.Layer):  # type: ignore[misc]
    """x + x · (U·(V·x) + b), (n, w) to (n, w): a cross layer of Deep & Cross Network V2 (Wang et al., 2021), its matrix
    of this rank."""

    def __init__(self, rank: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, shape: Any) -> None:
        width = shape[-1]
        self.down = self.add_weight(shape=(width, self.rank), initializer="glorot_uniform", name="down")
        self.up = self.add_weight(shape=(self.rank, width), initializer="zeros", name="up")
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        return x + x * ((x @ self.down) @ self.up + self.bias)
