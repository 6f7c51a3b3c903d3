"""Batch scoring from Parquet to Parquet, beside the answers of a server; interrupted and taken up again."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.app import Running
from server.batch import run as batch
from server.batch.run import Job, Progress, run
from server.models.model import load, require_own_shop
from shoprank import Client
from shoprank.bundle import current
from shoprank.errors import UserError
from tests.conftest import Shop

USERS = [f"u{n % 60}" for n in range(90)]
ITEMS = [f"i{(n * 7) % 150}" for n in range(90)]
ITEMS[5], USERS[6] = "nobody sells this", "never seen"


def job(shop: Shop, out: Path, **more: float) -> Job:
    return Job(shop.paths, current(shop.models, "purchase"), out, **more)  # type: ignore[arg-type]


def last(steps: Iterator[Progress]) -> Progress:
    return list(steps)[-1]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"user_id": USERS, "item_id": ITEMS}), tmp_path / "pairs.parquet", row_group_size=10)
    return tmp_path / "pairs.parquet"


def test_pairs_get_the_scores_that_a_server_gives(trained: Shop, server: Running, pairs: Path, tmp_path: Path) -> None:
    last(run(job(trained, tmp_path / "out"), pairs))
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [(row["user_id"], row["item_id"]) for row in rows] == list(zip(USERS, ITEMS, strict=True))
    with Client(server.address, timeout=10) as client:
        for row in rows:
            scored = client.score(row["user_id"], [row["item_id"]]).items
            expected: list[Any] = [(s.probability, s.logit) for s in scored] or [(None, None)]
            for found, wanted in zip((row["probability"], row["logit"]), expected[0], strict=True):
                assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-5, abs=1e-5))


@pytest.mark.parametrize("candidates", [True, False])
def test_rankings_are_those_of_a_server(trained: Shop, server: Running, tmp_path: Path, candidates: bool) -> None:
    items = [[f"i{(n * 11 + i) % 160}" for i in range(1 + n)] for n in range(20)]
    columns = {"user_id": USERS[:20], **({"item_ids": items} if candidates else {})}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=8)
    scored = job(trained, tmp_path / "out", top_k=5, temperature=0.5)
    last(run(scored, tmp_path / "in.parquet", processes=2 if candidates else 1))
    rows = pq.read_table(tmp_path / "out").to_pylist()
    expected = []
    with Client(server.address, timeout=10) as client:
        for user, some in zip(USERS[:20], items, strict=True):
            known = len(client.score(user, some)) if candidates else 5
            if known:
                answer = client.rank(user, some if candidates else None, top_k=min(5, len(some)) if candidates else 5,
                                     temperature=0.5)  # fmt: skip
                expected += [(user, item) for item in answer]
    assert [(r["user_id"], r["rank"], r["item_id"]) for r in rows] == [(u, i.rank, i.item_id) for u, i in expected]
    for name in ("probability", "purchase_probability", "logit"):
        assert [r[name] for r in rows] == pytest.approx([getattr(i, name) for _, i in expected], rel=1e-5, abs=1e-5)


def test_a_run_again_makes_nothing_and_another_model_or_input_everything(
    trained: Shop, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert last(run(job(trained, out), pairs)).kept == 0
    again = last(run(job(trained, out), pairs))
    assert (again.kept, again.parts, again.written) == (9, 9, 0)
    (out / "pairs-00003.parquet").unlink()
    one = last(run(job(trained, out), pairs))
    assert (one.kept, one.written) == (8, 10)
    other = tmp_path / "model"
    shutil.copytree(current(trained.models, "purchase"), other)
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert last(run(Job(trained.paths, other, out), pairs)).kept == 0
    pq.write_table(pq.read_table(pairs).slice(0, 15), pairs, row_group_size=10)
    assert last(run(Job(trained.paths, other, out), pairs)).kept == 0
    assert sorted(path.name for path in out.iterdir()) == ["_batch.json", "pairs-00000.parquet", "pairs-00001.parquet"]


def test_answers_to_another_input_are_left_alone(trained: Shop, pairs: Path, tmp_path: Path) -> None:
    out, users = tmp_path / "out", tmp_path / "users.parquet"
    last(run(job(trained, out), pairs))
    before = sorted(out.iterdir())
    pq.write_table(pa.table({"user_id": USERS}), users)
    with pytest.raises(UserError, match=rf"holds answers to {pairs}, of kind pairs; choose another with --out"):
        last(run(job(trained, out), users))
    assert sorted(out.iterdir()) == before


def test_processes_are_started_where_there_is_work_for_them(
    trained: Shop, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    each = batch._each

    def noted(*arguments: Any) -> Iterator[Any]:
        started.append(arguments[3])
        return each(*arguments)

    monkeypatch.setattr(batch, "_each", noted)
    last(run(job(trained, tmp_path / "few"), pairs, None))
    monkeypatch.setattr(batch, "WORTH_PROCESSES", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    last(run(job(trained, tmp_path / "many"), pairs, None))
    assert started == [1, 2]


def test_a_model_of_another_shop_is_refused(trained: Shop, pairs: Path, tmp_path: Path) -> None:
    model = load(current(trained.models, "purchase"))
    known = trained.paths.items
    require_own_shop(model, pq.read_table(known)["item_id"].to_pylist(), known)
    with pytest.raises(
        UserError, match="has 1 of the 150 items that purchase version 1 proposes; it is of another shop"
    ):
        require_own_shop(model, ["i1", "another"], known)


def test_a_folder_of_something_else_is_left_alone(trained: Shop, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis-00001.parquet").write_text("dear")
    with pytest.raises(UserError, match="holds files that are not of batch scoring"):
        last(run(job(trained, tmp_path / "mine"), pairs))
    assert (tmp_path / "mine" / "thesis-00001.parquet").read_text() == "dear"


def command(shop: Shop, source: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "shoprank", "batch-score", str(source), "--out", str(out), "--processes", "2",
        "--data", str(shop.paths.root), "--model-repository", str(shop.models),
    ]  # fmt: skip


def test_a_run_that_was_killed_is_taken_up_where_it_was(trained: Shop, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out"
    pq.write_table(pa.table({"user_id": USERS * 20, "item_id": ITEMS * 20}), source, row_group_size=6)
    killed = subprocess.Popen(command(trained, source, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(list(out.glob("in-*.parquet"))) < 10 and time.monotonic() < end:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    time.sleep(1)  # its processes end with it
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("in-*.parquet")}
    assert 10 <= len(there) < 300
    done = subprocess.run(command(trained, source, out), capture_output=True, text=True, check=True)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("in-*.parquet")}
    assert after.items() >= there.items()
    assert len(after) == 300
    assert f"{len(there)} of them there already" in done.stdout
    assert pq.read_table(out)["user_id"].to_pylist() == USERS * 20
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_bad_input_is_a_mistake_of_the_user(trained: Shop, tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["u1", None]}), tmp_path / "in.parquet")
    with pytest.raises(UserError, match=r"in\.parquet: row 1: user_id is null$"):
        last(run(job(trained, tmp_path / "out"), tmp_path / "in.parquet"))


def broken_text(tmp_path: Path) -> Path:
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 2, 4)), pa.py_buffer(b"u1\xff\xfe")]
    )
    pq.write_table(pa.table({"user_id": text}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def two_columns(tmp_path: Path) -> Path:
    pq.write_table(pa.table([["1"], ["2"]], names=["user_id", "user_id"]), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def damaged(tmp_path: Path) -> Path:
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table({"user_id": [f"user {n}" for n in range(5_000)]}), file, compression="snappy")
    with file.open("r+b") as opened:
        opened.seek(200)
        opened.write(b"\xff" * 3_000)
    return file


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (broken_text, r"in\.parquet: row 1: user_id is no UTF-8$"),
        (two_columns, r"in\.parquet: has 2 columns user_id; give one$"),
        (damaged, r"in\.parquet: row group 0 cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    trained: Shop, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        last(run(job(trained, tmp_path / "out"), make(tmp_path)))


@pytest.mark.parametrize("time", [-1, 253_402_300_800])
def test_a_time_that_the_service_refuses_is_refused(trained: Shop, pairs: Path, tmp_path: Path, time: int) -> None:
    with pytest.raises(UserError, match=f"time {time}: is not between 1970 and 9999"):
        last(run(job(trained, tmp_path / "out", time=time), pairs))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"top_k": 100}, {"temperature": 1.0}])
def test_what_is_for_rankings_alone_is_refused_for_pairs(
    trained: Shop, pairs: Path, tmp_path: Path, given: dict[str, float]
) -> None:
    with pytest.raises(UserError, match=r"pairs\.parquet: holds pairs, each of which is scored; top_k and temperature"):
        last(run(job(trained, tmp_path / "out", **given), pairs))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{"top_k": 0}, {"temperature": 0.0}, {"temperature": float("inf")}])
def test_settings_of_rankings_are_above_0(trained: Shop, tmp_path: Path, given: dict[str, float]) -> None:
    (name, value), source = *given.items(), tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": USERS[:2]}), source)
    with pytest.raises(UserError, match=f"{name} {value}: must be above 0"):
        last(run(job(trained, tmp_path / "out", **given), source))


def test_answers_are_no_input_and_need_a_folder(trained: Shop, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scores: lies below .*, where every \.parquet file is read"):
        last(run(job(trained, tmp_path / "scores"), tmp_path))
    with pytest.raises(UserError, match=r"pairs\.parquet/x: cannot be made: Not a directory"):
        last(run(job(trained, pairs / "x"), pairs))
