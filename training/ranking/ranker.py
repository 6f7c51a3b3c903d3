"""What a ranker is, and a way to train one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from training.ranking.network import Network
from training.ranking.past import PastBlock
from training.ranking.trees import Trees
from training.retrieval.log import F64


class Model(Protocol):
    """A fitted ranker."""

    def score(self, block: PastBlock) -> F64:
        """Scores (n,), log-odds unless the ranker orders only."""
        ...


@dataclass(frozen=True)
class Ranker:
    """A way to train a ranker.

    how: its settings, None for an ensemble of earlier ones alone and for a model that is given. columns: `schema` for
    the stored features, `all` for those of retrieval and the item's own key too. seeds: of what is trained beyond the
    members. members: earlier rankers whose scores are averaged with them and calibrated, by name, and how much each
    counts beside one of a seed. calendar: whether columns of the moment are shown. teacher: name of an earlier ranker
    that a network learns from beside the labels. by_user: power of 1 / purchases of the user by which its rows weigh in
    what is learned (`Lists.weighted`).
    """

    name: str
    how: Network | Trees | None
    columns: str = "all"
    seeds: tuple[int, ...] = (0,)
    members: Mapping[str, float] = field(default_factory=dict)
    calendar: bool = False
    teacher: str = ""
    by_user: float = 0.0

    def __post_init__(self) -> None:
        if self.by_user and isinstance(self.how, Network) and self.how.loss == "pairwise":
            raise ValueError(f"{self.name}: a loss of pairs takes no weights")

    @property
    def is_log_odds(self) -> bool:
        """Whether its scores are: not those that order only, nor those of rows that weigh differently, which are the
        log-odds of another population."""
        orders = isinstance(self.how, Trees) and self.how.objective == "lambdarank"
        return bool(self.members) or not (orders or self.by_user)

    @property
    def is_calibrated(self) -> bool:
        """Whether its log-odds take over the level of the validation weeks: those of trees and given models do not."""
        return isinstance(self.how, Network) or bool(self.members)
