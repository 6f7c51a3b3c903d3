"""The `evaluate-served` command: how accurate the slates are that a real server gives, and the page on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoprank.cli.app import app
from shoprank.cli.console import Progress, progress, show_contenders, stderr
from shoprank.cli.demo import TEST_CUTOFF, run_pipeline, serving
from shoprank.cli.options import DataDir, ResultsDir
from shoprank.client import Client
from shoprank.errors import ShoprankError
from shoprank.requests import ItemFilter
from shoprank.results import FeatureState
from shoprank.slates import Slate, SlateRules

if TYPE_CHECKING:
    from training.schedule import Schedule

RESULTS = Path("benchmarks/results/served")
PAGE = Path("docs/recommendations.md")
FOLDER, MODELS = "served", "model_repository"
TOP_K = 20
EVER = 3_650
"""Days of `not_bought_within_days`, the most that a server takes: nothing that the store knows as bought is left."""
TIMEOUT = 30.0
"""Seconds that one slate may take."""


@dataclass(frozen=True)
class Asked:
    """What the server gave each household: its slate, and that of what it never bought."""

    whole: Sequence[Slate]
    explore: Sequence[Slate]


@app.command(name="evaluate-served")
def evaluate_served(
    data: DataDir = Path("data"),
    out: ResultsDir = None,
    cutoff: Annotated[
        datetime, typer.Option(help="A Monday, UTC: train and serve what was known then, judge on the week after.")
    ] = TEST_CUTOFF,
) -> None:
    """Train on what was known at a cutoff, serve it, ask for every household's slate, and judge by the week after.

    DATA/served keeps what is made, a folder a cutoff; a second run takes it as it is.
    """
    from feature_repo.paths import DataPaths, write_json
    from training.ingest.known import write_known
    from training.ranking.key import key_of_data
    from training.ranking.served import Answers, judged, slates_of, week_of
    from training.retrieval.log import read_log
    from training.schedule import Schedule

    paths, known = DataPaths(data), DataPaths(data / FOLDER / f"{cutoff:%Y-%m-%d}")
    log = read_log(paths)
    week = week_of(log, cutoff)
    if write_known(paths, cutoff, known):
        print(f"evaluate-served: events before {cutoff} in {known.events}")
    run_pipeline(known.root, known.root / MODELS, until=cutoff)
    with (
        serving(known.root, known.root / MODELS) as address,
        Client(address, timeout=TIMEOUT) as client,
        progress() as tell,
    ):
        asked = ask(client, log.catalogue.user_ids[week.users].tolist(), cutoff, tell)
    with stderr().status("judging") as status:
        slates = slates_of(Answers(ids_of(asked.whole), ids_of(asked.explore)), log.catalogue)
        result = judged(week, log, slates, known.ranking, key_of_data(paths), lambda name: status.update(name))
    result |= {"server": described(asked), "schedule": split_of(Schedule.read(known))}
    folder = out or paths.evaluation
    write_json(folder / "served.json", result)
    show_contenders(result)
    print(f"evaluate-served: {len(asked.whole):,} households, {folder / 'served.json'}")


def ask(client: Client, user_ids: Sequence[str], time: datetime, tell: Progress) -> Asked:
    """Ask, as of a time (naive UTC), for each user's slate by default rules, and for that of what it never bought."""
    unowned = SlateRules(filter=ItemFilter(not_bought_within_days=EVER))
    whole, explore = [], []
    for done, user_id in enumerate(user_ids, 1):
        whole.append(client.recommend(user_id, top_k=TOP_K, time=time))
        explore.append(client.recommend(user_id, top_k=TOP_K, time=time, rules=unowned))
        tell("asking for slates", done, len(user_ids))
    return Asked(whole, explore)


def ids_of(slates: Sequence[Slate]) -> list[list[str]]:
    """Item ids of each slate, best first."""
    return [[item.item_id for item in slate] for slate in slates]


def described(asked: Asked) -> dict[str, Any]:
    """Who answered, and on what, as JSON. Raises ShoprankError where more than one version did."""
    slates = [*asked.whole, *asked.explore]
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
