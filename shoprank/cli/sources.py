"""The `sources` command: what a model proposes, fitted on the newest purchases; the network stays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoprank.bundle import current, require_kind, verify
from shoprank.cli.app import app
from shoprank.cli.console import progress
from shoprank.cli.options import DataDir, LearnedSources, ModelName, ModelRepository
from shoprank.errors import UserError
from shoprank.sources import CandidateSources


@app.command()
def sources(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    model: ModelName = "purchase",
    learned_source: LearnedSources = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Leave learned sources out, those of the active version too.")
    ] = False,
) -> None:
    """Fit the sources of candidates anew on the purchases before the newest features, into a new active version.

    Learned sources find items by vectors: als factorizes who buys what, which takes seconds; two-tower learns vectors
    of items and of histories, which takes minutes. Each makes a request slower. Those of the active version stay
    unless others are named.
    """
    from shoprank.cli.training import import_tensorflow_quietly

    if plain and learned_source:
        raise UserError(f"--learned-source {learned_source[0]}: --plain is without any")
    require_kind(model_repository, model, "ranking")
    active = current(model_repository, model)
    known = CandidateSources.of(verify(active))
    from feature_repo.paths import DataPaths
    from training.ingested import require_events

    paths = DataPaths(data)
    require_events(paths)  # before an import of ten seconds
    import_tensorflow_quietly()
    from training.evaluate.card import folder_of, write_card
    from training.retrieval.bundled import fit_bundled, refit, require_own_shop

    names = [] if plain else learned_source or (known.learned if known else ())
    require_own_shop(paths, active)
    with progress() as tell:
        fitted = fit_bundled(paths, names, tell)
    bundle = refit(model_repository, model, fitted)
    print(f"sources: {', '.join(source.name for source in fitted.sources)} of the purchases before {fitted.before}")
    for name, how in fitted.searches().items():
        print(f"sources: {name} {how}")
    made = CandidateSources.of(verify(bundle))
    assert made is not None
    print(
        f"sources: {model} version {bundle.name} in {bundle}, the network that of version {made.network_version}. "
        "Next: apply"
    )
    try:
        write_card(bundle, paths.evaluation / "evaluation.json", folder_of(bundle))
    except UserError as error:
        write_card(bundle, None, folder_of(bundle))
        print(f"sources: the card has no figures: {error}")
