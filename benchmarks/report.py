"""Writes the tables of docs/benchmarks.md anew from the JSON files of benchmarks/results.

Run as `python -m benchmarks.report`. A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; what was not measured
is left out of it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets

PAGE = Path("docs/benchmarks.md")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


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
        [count, name, *(f"{f['requests_per_second'][w]:,.0f}" for w in ("1", "2")), f"{f['scaling']:.2f}"]
        for count, by_name in result["results"].items()
        for name, f in by_name.items()
    ]
    return table(["candidates", "server", "requests/s, one worker", "two", "×"], rows)


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


TABLES = {
    "serving": [("serving", serving), ("generators", generators)],
    "open_loop": [("open-loop", open_loop)],
    "workers": [("workers", workers)],
    "peers": [("peers", peers)],
}


def write_tables(page: str, results: Path) -> str:
    """The page with every table of a result that is there written anew. Raises SystemExit where a place is missing."""
    found = {name: json.loads(p.read_text()) for name in TABLES if (p := results / f"{name}.json").is_file()}
    tables = {name: make(found[file]) for file in found for name, make in TABLES[file]}
    tables["targets"] = table(["target", "bound", "measured", ""], targets.lines(targets.measured(results)))
    for name, text in tables.items():
        place = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        page, count = place.subn(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"report: {PAGE} has {count} places for {name}")
    return page


def main() -> None:
    """Write the page anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    PAGE.write_text(write_tables(PAGE.read_text(), options.results))
    print(f"report: {PAGE}")


if __name__ == "__main__":
    main()
