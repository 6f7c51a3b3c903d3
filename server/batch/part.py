"""Files of answers: written whole or not at all, and with the identity of what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.paths import write_json
from server.batch.score import Rankings, Scored
from server.batch.source import ITEM, USER, Asked
from shoprank.errors import UserError

IDENTITY = b"shoprank.identity"
MARK = "_batch.json"
"""File that says a folder holds answers of batch scoring, so that old ones may be removed. Readers of Parquet folders
pass over names that begin so."""
NAME = re.compile(r".+-\d{5}\.parquet")
STAGED = re.compile(r"\..+\.parquet\.\d+")


def identity_of(facts: dict[str, Any]) -> str:
    """What answers were made of, as one text: equal facts would give equal answers."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def prepare(folder: Path, wanted: dict[str, str], about: dict[str, Any]) -> set[str]:
    """Make the folder ready for parts of these names and identities; those of them that are there already.

    about: says of what input and kind they are. Every other part in it is removed. Raises UserError where the folder
    holds something else, or answers to another input, or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is no folder")
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds files that are not of batch scoring; choose another with --out")
    if (other := _input(folder)) and other != (Path(about["input"]).resolve(), about["kind"]):
        raise UserError(f"{folder}: holds answers to {other[0]}, of kind {other[1]}; choose another with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from error
    write_json(folder / MARK, about)
    kept = set()
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        name = str(file.relative_to(folder))
        if NAME.fullmatch(file.name):
            if name in wanted and _identity(file) == wanted[name]:
                kept.add(name)
                continue
        elif not STAGED.fullmatch(file.name):
            continue
        file.unlink()
    return kept


def _input(folder: Path) -> tuple[Path, str] | None:
    """The input that a folder holds answers to, and its kind; None where it does not say."""
    try:
        mark = json.loads((folder / MARK).read_text())
        return Path(str(mark["input"])).resolve(), str(mark["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(file: Path) -> str:
    """The identity in a part; empty where it has none."""
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError):
        return ""
    return str(metadata.get(IDENTITY, b"").decode())


def write(file: Path, table: pa.Table, identity: str) -> None:
    """Write a part under a temporary name, and rename it once it is on the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table.replace_schema_metadata({IDENTITY: identity.encode()}), staged)
    with staged.open("rb") as written:
        os.fsync(written.fileno())
    staged.replace(file)


def pairs_table(asked: Asked, scored: Scored) -> pa.Table:
    """Columns user_id, item_id, probability, logit, in the order asked; null where the item is unknown."""
    unknown = ~scored.known
    return pa.table(
        {
            USER: _text(asked.user_ids, asked.users),
            ITEM: _text(asked.item_ids, asked.items),
            "probability": pa.array(scored.probabilities, mask=unknown),
            "logit": pa.array(scored.logits, mask=unknown),
        }
    )


def rankings_table(user_ids: Sequence[str], item_ids: pa.Array, rankings: Rankings) -> pa.Table:
    """Columns user_id, rank, item_id, probability, purchase_probability, logit; best first within each user."""
    return pa.table(
        {
            USER: _text(pa.array(user_ids, pa.string()), rankings.users),
            "rank": rankings.ranks,
            ITEM: _text(item_ids, rankings.items),
            "probability": rankings.probabilities,
            "purchase_probability": rankings.purchase,
            "logit": rankings.logits,
        }
    )


def _text(ids: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
    """The ids at places, as Parquet keeps them best: each text once."""
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), ids)
