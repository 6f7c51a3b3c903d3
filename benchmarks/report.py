"""Writes the tables of docs/benchmarks.md and of two decisions anew from the JSON files of benchmarks/results.

Run as `python -m benchmarks.report`. A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; what was not measured
is left out of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets
from shoprank.errors import UserError
from training.evaluate.page import placed, table

BENCHMARKS, TRANSPORT, SHEDDING = (
    Path("docs/benchmarks.md"), Path("docs/decisions/0015-transport.md"), Path("docs/decisions/0017-shedding.md")
)  # fmt: skip


def serving(result: dict[str, Any]) -> str:
    """Every server at every number of candidates."""
    header = ["candidates", "server", "median, ms", "p99, ms", "requests/s", "median ×", "requests/s ×", "rows/s ×"]
    rows = []
    for line in result["results"]:
        for name, f in line["servers"].items():
            row = [f"{line['candidates']:,}", name, f"{f['median_ms']:.2f}", f"{f['p99_ms']:.2f}"]
            row += [f"{f['requests_per_second']:,.0f}"]
            keys = ("median_ratio", "throughput_ratio", "rows_ratio")
            rows.append(row + [f"{f[key]:.2f}" if key in f else "" for key in keys])
    return table(header, rows)


def generators(result: dict[str, Any]) -> str:
    """The same throughput by two generators."""
    by_grpcio = result["requests_per_second_of_100_candidates_asked_by_grpcio"]
    (line,) = (line for line in result["results"] if line["candidates"] == 100)
    rows = [
        [name, f"{f['requests_per_second']:,.0f}", f"{by_grpcio[name]:,.0f}"] for name, f in line["servers"].items()
    ]
    return table(["server, 100 candidates", "requests/s by h2load", "requests/s by grpcio"], rows)


def open_loop(result: dict[str, Any]) -> str:
    """Both servers at every rate."""
    rows = []
    for line in result["sweep"]:
        share = line["requests_per_second"] / result["most_requests_per_second"]
        for name, f in line["servers"].items():
            row = [f"{line['requests_per_second']:,.0f}", f"{share:.0%}", name]
            if f["valid"]:
                row += [f"{f['median_ms']:.2f}", f"{f['p99_ms']:.2f}", "yes" if f["sustained"] else "no"]
            else:
                row += ["", "", f"not valid: {'; '.join(f['invalid_because'])}"]
            rows.append(row)
    return table(["requests/s", "of the most", "server", "median, ms", "p99, ms", "sustained"], rows)


def workers(result: dict[str, Any]) -> str:
    """One worker and two."""
    rows = [
        [
            count,
            name,
            *(f"{f['requests_per_second'][w]:,.0f}" for w in ("1", "2")),
            f"{f['shared']:.2f}",
            *(f"{f['with_cores_of_their_own'][w]:,.0f}" for w in ("1", "2")),
            f"{f['scaling']:.2f}",
        ]
        for count, by_name in result["results"].items()
        for name, f in by_name.items()
    ]
    header = ["candidates", "server", "requests/s, one worker", "two", "×", "with cores of their own: one", "two", "×"]
    return table(header, rows)


def peers(result: dict[str, Any]) -> str:
    """Every peer beside shoprank over LMDB."""
    names = list(result["servers"])
    ours = result["servers"][names[0]]
    rows = [
        [name, f"{f['median_ms']:.1f}", f"{f['p99_ms']:.1f}", f"{f['requests_per_second']:,.0f}",
         f"{ours['requests_per_second'] / f['requests_per_second']:.1f}"]
        for name, f in result["servers"].items()
    ]  # fmt: skip
    return table(["server", "median, ms", "p99, ms", "requests/s", "shoprank over LMDB does × as many"], rows)


def transport(result: dict[str, Any]) -> str:
    """Every way to serve with one process, doing nothing and working."""
    alone = {(row["transport"], row["handler"]): row for row in result["results"] if row["processes"] == 1}
    rows = []
    for name in dict.fromkeys(name for name, _ in alone):
        of = [alone[name, handler] for handler in ("empty", "working")]
        rows.append([name, *(f"{f['median_ms']:.2f}" for f in of), *(f"{f['calls_per_second']:,.0f}" for f in of)])
    return table(["way to serve", "empty: median, ms", "working: ms", "empty: calls/s", "working: calls/s"], rows)


def overload(result: dict[str, Any]) -> str:
    """Every way to shed, asked for twice what it can."""
    rows = [
        [f["variant"], f"{f['peak_per_second']:,.0f}", f"{f['peak_after_per_second']:,.0f}",
         f"{f['sending_seconds']:.0f}", f"{f['goodput_per_second']:,.0f}", f"{f['goodput_of_peak']:.0%}",
         f"{f['unloaded_p99_ms']:.1f}", f"{f['quiet_p99_ms']:.1f}", f"{f['accepted_p99_ms']:,.1f}",
         f"{f['accepted_p99_of_unloaded']:,.1f}", f"{f['accepted_p99_ms'] / f['quiet_p99_ms']:,.1f}",
         f"{f['wrong']:,} of {f['checked']:,}", f"{f['memory_before_mb']:.0f} → {f['memory_after_mb']:.0f}"]
        for f in result["results"]
    ]  # fmt: skip
    header = ["way to shed", "peak, /s", "after, /s", "asked for, s", "goodput, /s", "of the peaks", "unloaded p99, ms"]
    compared = ["quiet p99, ms", "answered p99, ms", "over unloaded", "over quiet"]
    return table([*header, *compared, "wrong", "memory, MB"], rows)


def recommend(result: dict[str, Any]) -> str:
    """Every kind of slate beside a ranking."""
    rows = [
        [name, f"{f['median_ms']:.2f}", f"{f['p99_ms']:.2f}", f"{f['median_over_rank_100']:.2f}"]
        for name, f in result["results"].items()
    ]
    return table(["call", "median, ms", "p99, ms", "median over RankItems of 100"], rows)


TABLES: dict[str, list[tuple[str, Callable[[Any], str]]]] = {
    "serving": [("serving", serving), ("generators", generators)],
    "open_loop": [("open-loop", open_loop)],
    "workers": [("workers", workers)],
    "peers": [("peers", peers)],
    "transport": [("transport", transport)],
    "overload": [("overload", overload)],
    "recommend": [("recommend", recommend)],
}
PLACES = {BENCHMARKS: ("serving", "generators", "open-loop", "workers", "peers", "recommend", "overload", "targets"),
          TRANSPORT: ("transport",), SHEDDING: ("overload",)}  # fmt: skip
"""The tables that each page has."""


def write_tables(page: str, results: Path, places: Sequence[str] = PLACES[BENCHMARKS]) -> str:
    """The page with every table of a result that is there written anew. Raises SystemExit where a place is missing."""
    found = {name: json.loads(p.read_text()) for name in TABLES if (p := results / f"{name}.json").is_file()}
    tables = {name: make(found[file]) for file in found for name, make in TABLES[file]}
    tables["targets"] = table(["target", "bound", "measured", ""], targets.lines(targets.measured(results)))
    try:
        return placed(page, {name: tables.get(name, "") for name in places})
    except UserError as error:
        raise SystemExit(f"report: {error}") from error


def main() -> None:
    """Write the pages anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    for page, places in PLACES.items():
        page.write_text(write_tables(page.read_text(), options.results, places))
        print(f"report: {page}")


if __name__ == "__main__":
    main()
