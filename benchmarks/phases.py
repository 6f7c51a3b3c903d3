"""Where the time of a RankItems request goes, in process: parse, read, features, model, sort, reply; and what the model
in its parts saves over the whole graph.

Run as `python -m benchmarks.phases`; writes benchmarks/results/phases.json. Requests take turns, of random users and
items, so that rows are met as a server meets them: mostly outside the processor's caches.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.serving import CANDIDATES
from benchmarks.workload import requests
from feature_repo.paths import DataPaths, write_json
from feature_repo.store import applied_store
from feature_repo.transforms import affinities_of, assemble
from server import parse, reply
from server.call import Call
from server.catalogue import Catalogue, Listing
from server.features import OnlineFeatures
from server.items import Items
from server.models.model import Model, load
from server.ranker import Ranker
from server.towers import Asked
from shoprank import bundle

MAX_CANDIDATES = 5_000
STEPS = ("parse", "user", "items", "pair features", "model, in towers", "rank and reply", "whole request")


def times(ranker: Ranker, features: OnlineFeatures, model: Model, listing: Listing, asked: list[bytes]) -> list[float]:
    """Median µs of each step over requests in turn; the last is of a request from bytes to bytes, measured apart."""
    rows = []
    for request in asked:
        marks = [perf_counter()]
        query = parse.rank_query(request, MAX_CANDIDATES, ranker.items.shelf)
        marks.append(perf_counter())
        (user,), version = features.users((query.user_id,))
        marks.append(perf_counter())
        one = Asked(user.row, ranker.items.find(query.items, version), listing.newest(version))
        marks.append(perf_counter())
        positions = one.items.positions
        affinities_of(
            (one.user,), one.user.numbers[None], one.items.shelf.facts, positions, (len(positions),), (one.time,)
        )
        marks.append(perf_counter())
        model.score(one)
        marks.append(perf_counter())
        rows.append(np.diff(marks).tolist())
    # Each request once more as a whole, and its reply alone: by then its rows are in the caches no more.
    for row, request in zip(rows, asked, strict=True):
        began = perf_counter()
        ranking = ranker.rank(parse.rank_query(request, MAX_CANDIDATES, ranker.items.shelf), Call(""))
        ranked = perf_counter()
        reply.ranked(ranking)
        ended = perf_counter()
        row += [ended - ranked, ended - began]
    return [float(value) for value in np.median(np.array(rows), axis=0) * 1e6]


def whole_graph(model: Model, one: Asked, repeats: int) -> tuple[float, float]:
    """Median µs of the whole graph on one request's rows, and of the towers on the same, in turns."""
    inputs = assemble(one.user, one.items.shelf.rows.take(one.items.positions), one.time)
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        model.run(inputs)
        between = perf_counter()
        model.score(one)
        taken.append((between - began, perf_counter() - between))
    whole, towers = np.median(np.array(taken), axis=0) * 1e6
    return float(whole), float(towers)


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    paths = DataPaths(options.data)
    features = OnlineFeatures(applied_store(paths))
    model = load(bundle.current(options.model_repository, "purchase"))
    catalogue = Catalogue.read(paths.items)
    items = Items(features, 2 * len(catalogue.ids))
    listing = Listing(items, catalogue)
    model.prepare(listing.all(features.items_version()))
    ranker = Ranker(lambda user_id: model, features, items, listing, listing.newest)
    results: list[dict[str, Any]] = []
    for count in CANDIDATES:
        some = requests(paths, count, count=50)
        query = parse.rank_query(some[0], MAX_CANDIDATES, items.shelf)
        (user,), version = features.users((query.user_id,))
        one = Asked(user.row, items.find(query.items, version), listing.newest(version))
        whole, towers = whole_graph(model, one, 200)
        steps = dict(zip(STEPS, times(ranker, features, model, listing, some * options.rounds), strict=True))
        results.append({"candidates": count, "us": steps, "whole_graph_us": whole, "towers_us": towers})
        shown = ", ".join(f"{name} {value:.0f}" for name, value in steps.items())
        print(f"{count:>5} candidates, µs: {shown}; whole graph {whole:.0f}, towers {towers:.0f}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "phases.json", {"rounds": options.rounds, "results": results})
    print(f"phases: {options.out / 'phases.json'}")


if __name__ == "__main__":
    main()
