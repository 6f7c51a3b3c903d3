"""A card says what was measured of its bundle, for whom, and what was not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoprank.bundle import MODEL, Manifest, versions
from shoprank.errors import UserError
from training.evaluate.card import folder_of, write_card
from training.evaluate.segments import measured_by_segment

GRAPH = b"a graph"
FILES = {MODEL: hashlib.sha256(GRAPH).hexdigest()}
TRAINING: dict[str, Any] = {"window": {"train": [1_501_459_200, 1_510_531_200]}, "rows": {"train": 1_234}}
IDENTITY = {"name": "purchase", "version": 3, "head": "sigmoid", "graph": FILES[MODEL]}


def bundle_at(folder: Path, training: dict[str, Any] = TRAINING) -> Path:
    manifest = Manifest(
        "purchase", 3, "ranking", "sigmoid", "2026-01-01", ("a",), (), "int64", "0" * 64, training=training,
        metrics={"roc_auc": 0.875}, files=FILES,
    )  # fmt: skip
    return written(manifest, folder)


def written(manifest: Manifest, folder: Path) -> Path:
    folder.mkdir()
    (folder / MODEL).write_bytes(GRAPH)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def segments() -> dict[str, Any]:
    """Users 0 to 19, who are young, get the one item they want in first place; 20 to 59 get none; 3 are old."""
    top = {str(u): np.array(["wanted" if u < 20 else "other"]) for u in range(60)}
    truth = {str(u): frozenset(["wanted"]) for u in range(60)}
    age = {str(u): "young" if u < 20 else "old" if u > 56 else "middle" for u in range(60)}
    return measured_by_segment(top, truth, {"age": age})


def evaluation(path: Path, **other: object) -> Path:
    found = {"model": {**IDENTITY, **other}, "test": {"cutoff": "2017-12-04T00:00:00"}}
    path.write_text(json.dumps({**found, "segments": segments()}))
    return path


def test_segments_have_their_own_figures_and_small_ones_none() -> None:
    found = segments()
    whole = found["whole"]["metrics"]["ndcg@10"]
    assert found["whole"]["users"] == 60
    assert whole["mean"] == pytest.approx(1 / 3)
    assert whole["interval"][0] < 1 / 3 < whole["interval"][1]
    assert {name: s["metrics"]["recall@20"]["mean"] for name, s in found["slices"]["age"].items()} == {
        "young": 1.0,
        "middle": 0.0,
    }


def test_a_card_holds_the_figures_of_its_own_bundle(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "3")
    card = write_card(bundle, evaluation(tmp_path / "evaluation.json"), bundle)
    assert card["ranking"]["metrics"]["ndcg@10"]["mean"] == pytest.approx(1 / 3)
    assert card["data"]["window"]["train"] == ["2017-07-31", "2017-11-13"]
    page = (bundle / "model_card.html").read_text()
    for words in ("purchase v3", "1,234", "0.333", "young", "0.875", "Limits"):
        assert words in page
    assert "Not measured" not in page
    assert json.loads((bundle / "model_card.json").read_text()) == card


@pytest.mark.parametrize("other", [None, {"head": "softmax"}, {"graph": "b" * 64}])
def test_without_an_evaluation_of_this_bundle_it_says_so(tmp_path: Path, other: dict[str, object] | None) -> None:
    path = tmp_path / "evaluation.json"
    if other is not None:
        evaluation(path, **other)
    card = write_card(bundle_at(tmp_path / "3"), path, tmp_path / "out")
    assert (card["ranking"], card["slices"], card["test"]) == (None, None, None)
    assert (tmp_path / "out/model_card.html").read_text().count("Not measured for this bundle") == 2


def test_a_version_with_new_sources_alone_has_the_figures_of_its_network(tmp_path: Path) -> None:
    sources = {"purchases_before": "2017-12-18T00:00:00", "learned": ["als"], "network_version": 2}
    bundle = bundle_at(tmp_path / "3", training={**TRAINING, "sources": sources})
    card = write_card(bundle, evaluation(tmp_path / "evaluation.json", version=2), bundle)
    assert card["ranking"]["metrics"]["ndcg@10"]["mean"] == pytest.approx(1 / 3)
    for name in ("model_card.html", "model_card.md"):
        text = (bundle / name).read_text()
        assert "Its sources of candidates know the purchases before 2017-12-18, als among them." in text
        assert "They are new; its network is that of version 2." in text


def test_a_file_that_is_no_evaluation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text("[]")
    with pytest.raises(UserError, match="not the JSON of an evaluation"):
        write_card(bundle_at(tmp_path / "3"), path, tmp_path / "out")


def test_an_evaluation_that_does_not_say_of_which_graph_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"model": {"name": "purchase", "version": 3, "head": "sigmoid"}}))
    with pytest.raises(UserError, match=r"evaluation\.json: does not say of which graph it is"):
        write_card(bundle_at(tmp_path / "3"), path, tmp_path / "out")


def test_an_evaluation_of_another_version_need_not_say_of_which_graph_it_is(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"model": {"name": "purchase", "version": 2, "head": "sigmoid"}}))
    assert write_card(bundle_at(tmp_path / "3"), path, tmp_path / "out")["ranking"] is None


def test_the_markdown_says_what_the_page_says(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "3")
    write_card(bundle, evaluation(tmp_path / "evaluation.json"), tmp_path / "out")
    text = (tmp_path / "out/model_card.md").read_text()
    assert "# purchase v3" in text
    assert "| train | 2017-07-31 | 2017-11-13 | 1,234 |" in text
    assert "| everybody | 60 | 0.333 (" in text
    assert "| young | 20 | 1.000 (1.000–1.000) |" in text
    assert "| roc auc | 0.875 |" in text
    assert "Not measured" not in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_words_of_the_data_cannot_break_a_table(tmp_path: Path) -> None:
    path = evaluation(tmp_path / "evaluation.json")
    path.write_text(path.read_text().replace('"young"', '"young | <b>"'))
    write_card(bundle_at(tmp_path / "3"), path, tmp_path / "out")
    assert r"| young \| <b> | 20 |" in (tmp_path / "out/model_card.md").read_text()
    assert "<b>" not in (tmp_path / "out/model_card.html").read_text()


def table_bundle_at(folder: Path, window: dict[str, list[int] | None], kind: str) -> Path:
    table = {
        "file": "leads.csv",
        "label": {"column": "won", "mapping": {"no": 0, "yes": 1}},
        "split": {"by": "at"},
        "columns": {"at": kind},
    }
    training = {"window": window, "rows": {"train": 70}, "table": table}
    manifest = Manifest(
        "leads", 1, "table", "sigmoid", "2026-01-01", ("a",), (), "string", "0" * 64,
        training=training, metrics={"roc_auc": 0.7}, files=FILES,
    )  # fmt: skip
    return written(manifest, folder)


@pytest.mark.parametrize(
    ("window", "kind", "row"),
    [
        ({"train": None}, "dropped", "| train | at random | at random | 70 |"),
        ({"train": [1_501_459_200, 1_510_531_200]}, "date", "| train | 2017-07-31 | 2017-11-13 | 70 |"),
        ({"train": [7, 2**60]}, "number", f"| train | 7 | {2**60} | 70 |"),
    ],
)
def test_the_card_of_a_tables_model_says_what_it_answers_and_how_the_table_was_split(
    tmp_path: Path, window: dict[str, list[int] | None], kind: str, row: str
) -> None:
    write_card(table_bundle_at(tmp_path / "1", window, kind), None, tmp_path / "out")
    text = (tmp_path / "out/model_card.md").read_text()
    assert row in text
    assert "It answers how likely won is yes in a row of leads.csv." in text
    page = (tmp_path / "out/model_card.html").read_text()
    assert all(f"<td>{cell}</td>" in page for cell in row.strip("| ").split(" | "))
    assert "shop" not in text + page
    assert "Ranking" not in text + page
    assert "Not measured" not in text + page


def test_a_card_lies_beside_its_bundle_and_is_no_version(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "3")
    before = sorted(bundle.iterdir())
    write_card(bundle, None, folder_of(bundle))
    assert sorted(bundle.iterdir()) == before
    assert (tmp_path / "cards/3/model_card.md").is_file()
    assert versions(tmp_path.parent, tmp_path.name) == [3]


def test_segments_stand_in_the_order_of_their_numbers() -> None:
    names = ["unknown", "more than 500", "4–20", "1–3", "101–500", "21–100", "none"]
    users = [f"{name} {n}" for name in names for n in range(10)]
    found = measured_by_segment(
        {user: np.array(["wanted"]) for user in users},
        {user: frozenset(["wanted"]) for user in users},
        {"purchases": {user: user.rpartition(" ")[0] for user in users}},
    )
    ordered = ["none", "1–3", "4–20", "21–100", "101–500", "more than 500", "unknown"]
    assert list(found["slices"]["purchases"]) == ordered
