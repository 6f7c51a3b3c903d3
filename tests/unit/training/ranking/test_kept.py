"""Fitted rankers are read where they were kept, and fitted anew where anything they come from has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.ranking.test_rankers import COLUMNS, PAST, lists, rows
from training.model import Architecture
from training.ranking import kept
from training.ranking.fitting import fit_rankers
from training.ranking.kept import Kept
from training.ranking.lists import Lists, whole
from training.ranking.network import Network
from training.ranking.ranker import Ranker
from training.ranking.trees import Trees
from training.retrieval.log import F64

__all__ = ["lists"]

SMALL = Network(Architecture(hidden=(16, 8)), epochs=1, lists=32, cross=4)
RANKERS = (
    Ranker("trees", Trees("binary", rounds=20, least=20)),
    Ranker("taught", SMALL, teacher="trees"),
    Ranker("narrow", SMALL, columns="schema"),
    Ranker("two", SMALL, seeds=(1,), members={"taught": 1}, teacher="trees"),
)


def scores(folder: Path, lists: tuple[Lists, Lists], rankers: tuple[Ranker, ...] = RANKERS) -> dict[str, F64]:
    """What each ranker says of other rows, fitted or read."""
    block = whole(rows(3, 20), PAST)
    fitted = fit_rankers(rankers, *lists, COLUMNS, {}, kept=Kept.of(folder, *lists))
    return {ranker.name: model.score(block) for ranker, model, _ in fitted}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_interrupted_goes_on_and_a_further_run_fits_nothing(
    tmp_path: Path, lists: tuple[Lists, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(tmp_path, lists, RANKERS[:2])
    before = files(tmp_path)
    seeds: list[int] = []
    fit = Network.fit

    def noted(how: Network, *given: Any, **more: Any) -> Any:
        seeds.append(given[3])
        return fit(how, *given, **more)

    monkeypatch.setattr(Network, "fit", noted)
    first, written = scores(tmp_path, lists), files(tmp_path)
    assert seeds == [0, 1]  # of the narrow one, and the second seed of the taught one
    assert before < written
    assert len(written) == 4

    def refused(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Network, "fit", refused)
    monkeypatch.setattr(Trees, "fit", refused)
    for name, z in scores(tmp_path, lists).items():
        np.testing.assert_allclose(z, first[name], rtol=1e-6, atol=1e-6)
    assert files(tmp_path) == written


def test_anything_that_a_ranker_comes_from_makes_another_file(
    tmp_path: Path, lists: tuple[Lists, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Kept.of(tmp_path, *lists)
    assert one == Kept.of(tmp_path, *lists)
    other = replace(lists[0], block=replace(lists[0].block, label=1 - lists[0].block.label))
    paths = [one.path(SMALL, 0), one.path(SMALL, 1), one.path(replace(SMALL, cross=0), 0)]
    paths.append(Kept.of(tmp_path, other, lists[1]).path(SMALL, 0))
    monkeypatch.setattr(kept, "_made_by", lambda: "other code")
    paths.append(one.path(SMALL, 0))
    assert len(set(paths)) == 5


def test_a_change_of_the_teacher_or_of_the_rows_weights_is_one_of_the_ranker(
    tmp_path: Path, lists: tuple[Lists, Lists]
) -> None:
    scores(tmp_path, lists, RANKERS[:2])
    trees = replace(RANKERS[0], how=Trees("binary", rounds=10, least=20))
    scores(tmp_path, lists, (trees, RANKERS[1]))
    assert len(files(tmp_path)) == 4
    scores(tmp_path, lists, (replace(trees, by_user=1),))
    assert len(files(tmp_path)) == 5
