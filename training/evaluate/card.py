"""A model card: what a bundle was made of, how good it was found to be, for whom, and where its limits lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from feature_repo.paths import write_json, write_text
from shoprank.bundle import MODEL, Manifest, verify
from shoprank.errors import UserError
from shoprank.sources import CandidateSources
from training.evaluate.card_markdown import markdown, sources

RANKING_LIMITS = (
    "It was trained and tested on one shop's events. On another shop's it says nothing until it is trained on them.",
    "Users were not drawn at random, and those who gave no demographics are a segment of their own.",
    "The figures are of past purchases, not of an experiment: what a slate itself brings about is not measured.",
    "A user without purchases before the cutoff, and an item nobody bought, are scored from what little is known.",
)
TABLE_LIMITS = (
    "It was trained and tested on one table's rows. On others it says nothing until it is trained on them.",
    "What a row's label is due to is not measured: a column may tell the label and bring nothing about.",
)


def folder_of(bundle: Path) -> Path:
    """Where a bundle's card is kept: beside it, so that a server that follows the bundle's files loads nothing anew."""
    return bundle.parent / "cards" / bundle.name


def write_card(bundle: Path, evaluation: Path | None, out: Path) -> dict[str, Any]:
    """Write `model_card.html`, `model_card.md` and `model_card.json` into `out` and return what the JSON holds.

    evaluation: the JSON of `shoprank evaluate`, None for a bundle that none can be of yet; its figures are taken
    where it is of this bundle's graph, whichever version, and where it is not, or is not there, the card says that
    they were not measured. There is none of a table's model. Raises UserError where it cannot be read, or is of
    this name, version and head and does not say of which graph, BundleError where the bundle was altered.
    """
    manifest = verify(bundle)
    measured = None if evaluation is None or "table" in manifest.training else _read(evaluation, manifest)
    card = describe(manifest, measured)
    template = Environment(loader=PackageLoader("training.evaluate", "templates"), autoescape=True)
    page = template.get_template("card.html.j2").render(card=card, sources=sources)
    write_text(out / "model_card.html", page)
    write_text(out / "model_card.md", markdown(card))
    write_json(out / "model_card.json", card)
    return card


def describe(manifest: Manifest, evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """What the card says, as JSON; None stands for what was not measured."""
    identity = identity_of(manifest)
    measured = evaluation if evaluation and _network(evaluation["model"]) == _network(identity) else {}
    known = CandidateSources.of(manifest)
    table = manifest.training.get("table")
    return {
        "kind": manifest.kind,
        "model": {**identity, "created_at": manifest.created_at},
        "sources": known.notes() if known else None,
        "answers": _answers(table) if table else "how likely a user is to buy an item",
        "data": {
            "window": _window(manifest.training, table),
            "rows": manifest.training.get("rows", {}),
            "inputs": len(manifest.numeric) + len(manifest.categorical),
        },
        "classification": manifest.metrics,
        "test": measured.get("test"),
        "ranking": measured.get("segments", {}).get("whole"),
        "slices": measured.get("segments", {}).get("slices"),
        "limits": list(TABLE_LIMITS if table else RANKING_LIMITS),
    }


def identity_of(manifest: Manifest) -> dict[str, Any]:
    """What tells a model from every other, as JSON: name, version and head, and the SHA-256 of its graph."""
    named = {"name": manifest.model, "version": manifest.version, "head": manifest.head}
    return {**named, "graph": manifest.files[MODEL]}


def _network(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity but for the version: a version whose sources alone are new has the network of another."""
    return {name: value for name, value in identity.items() if name != "version"}


def _answers(table: Mapping[str, Any]) -> str:
    label = table["label"]
    (positive,) = (value for value, meant in label["mapping"].items() if meant == 1)
    return f"how likely {label['column']} is {positive} in a row of {table['file']}"


def _window(training: Mapping[str, Any], table: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """First and last time of each split; those of a table may be numbers, and it has none where they are random."""
    dated = table is None or table["columns"].get(table["split"]["by"]) == "date"
    shown = _day if dated else str
    return {split: [shown(time) for time in ends or ()] for split, ends in training.get("window", {}).items()}


def _read(path: Path, manifest: Manifest) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        model = dict(found["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the JSON of an evaluation; run `shoprank evaluate`") from error
    if "graph" not in model and identity_of(manifest).items() >= model.items():
        raise UserError(f"{path}: does not say of which graph it is, so of which model; run `shoprank evaluate` again")
    return dict(found)


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
