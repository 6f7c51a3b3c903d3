"""The `evaluate-served` command: how accurate the slates are that a real server gives, and the page on them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoprank.bundle import MODEL as MODEL_FILE
from shoprank.bundle import activate, current, verify
from shoprank.cli.app import app
from shoprank.cli.console import Progress, progress, show_contenders, stderr
from shoprank.cli.demo import MODEL, TEST_CUTOFF, run_pipeline, serving
from shoprank.cli.options import DataDir, LearnedSources, ResultsDir
from shoprank.client import Client
from shoprank.errors import BundleError, ShoprankError
from shoprank.requests import ItemFilter
from shoprank.results import FeatureState
from shoprank.slates import Slate, SlateRules
from shoprank.sources import CandidateSources

if TYPE_CHECKING:
    from feature_repo.paths import DataPaths
    from training.schedule import Schedule

RESULTS = Path("benchmarks/results/served")
PAGE = Path("docs/recommendations.md")
FOLDER, MODELS = "served", "model_repository"
TOP_K = 20
LONGEST = 500
"""Places of the longest slate: as many as there are candidates by default."""
EVER = 3_650
"""Days of `not_bought_within_days`, the most that a server takes: nothing that the store knows as bought is left."""
TIMEOUT = 30.0
"""Seconds that one slate may take."""


@dataclass(frozen=True)
class Asked:
    """What a server gave each household: its slate, that of what it never bought, and one of all candidates. seconds:
    how long the client waited for the first of these."""

    whole: Sequence[Slate]
    explore: Sequence[Slate]
    candidates: Sequence[Slate]
    seconds: Sequence[float]


@app.command(name="evaluate-served")
def evaluate_served(
    data: DataDir = Path("data"),
    out: ResultsDir = None,
    cutoff: Annotated[
        datetime, typer.Option(help="A Monday, UTC: train and serve what was known then, judge on the week after.")
    ] = TEST_CUTOFF,
    learned_source: LearnedSources = None,
) -> None:
    """Train on what was known at a cutoff, serve it, ask for every household's slate, and judge by the week after.

    DATA/served keeps what is made, a folder a cutoff; a second run takes it as it is. With learned sources the same
    network is served once more with each beside its other sources, and with all of them.
    """
    from feature_repo.paths import DataPaths, write_json
    from training.ingest.known import write_known
    from training.ranking.key import key_of_data
    from training.ranking.names import SERVED, served_with
    from training.ranking.served import Answers, judged, week_of
    from training.retrieval.log import read_log
    from training.schedule import Schedule

    paths, known = DataPaths(data), DataPaths(data / FOLDER / f"{cutoff:%Y-%m-%d}")
    log = read_log(paths)
    week = week_of(log, cutoff)
    if write_known(paths, cutoff, known):
        print(f"evaluate-served: events before {cutoff} in {known.events}")
    run_pipeline(known.root, known.root / MODELS, until=cutoff)
    repositories = {SERVED: known.root / MODELS}
    learned = sorted(set(learned_source or ()))
    for some in [*([name] for name in learned), *([learned] if len(learned) > 1 else [])]:
        repositories[served_with(some)] = with_sources(known, some)
    asked: dict[str, Asked] = {}
    for name, repository in repositories.items():
        with (
            serving(known.root, repository) as address,
            Client(address, timeout=TIMEOUT) as client,
            progress() as tell,
        ):
            asked[name] = ask(client, log.catalogue.user_ids[week.users].tolist(), cutoff, tell)
    with stderr().status("judging") as status:
        answers = {n: Answers(ids_of(a.whole), ids_of(a.explore), ids_of(a.candidates)) for n, a in asked.items()}
        result = judged(week, log, answers, known.ranking, key_of_data(paths), lambda name: status.update(name))
    result |= {"server": described(asked[SERVED]), "schedule": split_of(Schedule.read(known))}
    result["median_ms"] = {name: 1e3 * median(one.seconds) for name, one in asked.items()}
    folder = out or paths.evaluation
    write_json(folder / "served.json", result)
    show_contenders(result)
    print(f"evaluate-served: {len(week.users):,} households, {folder / 'served.json'}")


def with_sources(known: DataPaths, learned: Sequence[str]) -> Path:
    """A repository with the active version of that in the folder, which has these learned sources too; one that is
    there already is taken."""
    from training.retrieval.bundled import fit_bundled, refit

    active = current(known.root / MODELS, MODEL)
    network, folder = verify(active).files[MODEL_FILE], known.root / "-".join([MODELS, *learned])
    try:
        found = verify(current(folder, MODEL))
        sources = CandidateSources.of(found)
        if found.files[MODEL_FILE] == network and sources and sources.learned == tuple(learned):
            return folder
    except BundleError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(active, folder / MODEL / active.name)
    activate(folder, MODEL, int(active.name))
    with progress() as tell:
        refit(folder, MODEL, fit_bundled(known, learned, tell))
    return folder


def ask(client: Client, user_ids: Sequence[str], time: datetime, tell: Progress) -> Asked:
    """Ask, as of a time (naive UTC), for each user's slate by default rules, for that of what it never bought, and for
    one as long as a slate may be."""
    unowned = SlateRules(filter=ItemFilter(not_bought_within_days=EVER))
    whole, explore, candidates, seconds = [], [], [], []
    for done, user_id in enumerate(user_ids, 1):
        began = perf_counter()
        whole.append(client.recommend(user_id, top_k=TOP_K, time=time))
        seconds.append(perf_counter() - began)
        explore.append(client.recommend(user_id, top_k=TOP_K, time=time, rules=unowned))
        candidates.append(client.recommend(user_id, top_k=LONGEST, time=time))
        tell("asking for slates", done, len(user_ids))
    return Asked(whole, explore, candidates, seconds)


def ids_of(slates: Sequence[Slate]) -> list[list[str]]:
    """Item ids of each slate, best first."""
    return [[item.item_id for item in slate] for slate in slates]


def described(asked: Asked) -> dict[str, Any]:
    """Who answered, and on what, as JSON. Raises ShoprankError where more than one version did."""
    slates = [*asked.whole, *asked.explore, *asked.candidates]
    versions = {(one.served_by.model, one.served_by.model_version, one.served_by.feature_service) for one in slates}
    if len(versions) != 1:
        raise ShoprankError(f"several versions answered: {sorted(versions)}")
    ((model, version, service),) = versions
    ages = [age for one in slates if (age := one.feature_status.user_age) is not None]
    return {
        "model": model,
        "version": version,
        "feature_service": service,
        "candidates": max(one.candidate_count for one in asked.whole),
        "not_bought_within_days": EVER,
        "users_found": sum(one.feature_status.user is FeatureState.FOUND for one in asked.whole),
        "oldest_features_hours": max(ages, default=timedelta(0)) / timedelta(hours=1),
    }


def split_of(schedule: Schedule) -> dict[str, Any]:
    """The weeks that the model learned from, and the snapshot that is served, as JSON."""
    weeks = {name: getattr(schedule, name) for name in ("train", "validation")}
    return {
        **{name: [f"{cutoff:%Y-%m-%d}" for cutoff in cutoffs] for name, cutoffs in weeks.items()},
        "test": f"{schedule.test:%Y-%m-%d}",
        "serving": f"{schedule.serving:%Y-%m-%d}",
    }


@app.command(name="served-page")
def served_page(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="The page whose tables are written anew.")] = PAGE,
) -> None:
    """Write the tables of docs/recommendations.md anew from the last results."""
    import json

    from training.ranking.served_page import written

    page.write_text(written(page.read_text(), json.loads((results / "served.json").read_text())))
    print(f"served-page: {page}")
