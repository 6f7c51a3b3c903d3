"""The `train` command: the ranking model from the dataset, or a model for any flat table."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoprank.bundle import require_kind
from shoprank.cli.app import app
from shoprank.cli.console import progress, stdout
from shoprank.cli.options import DataDir, LearnedSource, LearnedSources, ModelRepository
from shoprank.errors import UserError

if TYPE_CHECKING:
    from training.settings import Settings

    SettingsChange = Callable[[Settings], Settings]


class Head(StrEnum):
    """Heads of the network."""

    sigmoid = "sigmoid"
    softmax = "softmax"


@app.command()
def train(
    data: DataDir = Path("data"),
    model_repository: ModelRepository = Path("model_repository"),
    model: Annotated[
        str | None, typer.Option(help="Name of the model; purchase, or with --table the file's name.")
    ] = None,
    head: Annotated[Head, typer.Option(help="One logit, or two with a softmax over them.")] = Head.sigmoid,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs at most; training stops early.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step.")] = None,
    class_weight: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Weight of a positive against a negative.")
    ] = 1.0,
    teacher: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of trees' answers in what is learned, beside labels; 0.5, with --table 0."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")] = 0,
    learned_source: LearnedSources = None,
    table: Annotated[Path | None, typer.Option(help="Train on this CSV or Parquet file instead.")] = None,
    label: Annotated[str | None, typer.Option(help="With --table: the column to predict, of two values.")] = None,
    positive: Annotated[str | None, typer.Option(help="With --table: the label's positive value.")] = None,
    time_column: Annotated[str | None, typer.Option(help="With --table: split by this column's time.")] = None,
    id_columns: Annotated[str | None, typer.Option(help="With --table: columns to leave out, a,b.")] = None,
) -> None:
    """Train, calibrate, evaluate and export a model, and make it the active version."""

    def adjusted(settings: Settings) -> Settings:
        return replace(
            settings,
            architecture=replace(settings.architecture, head=head.value),
            epochs=epochs or settings.epochs,
            batch_size=batch_size or settings.batch_size,
            class_weight=class_weight,
            teacher=settings.teacher if teacher is None else teacher,
            seed=seed,
        )

    if table is None:
        _refuse_table_options(label=label, positive=positive, time_column=time_column, id_columns=id_columns)
        name = model or "purchase"
        require_kind(model_repository, name, "ranking")
        _train_ranking(data, model_repository, name, adjusted, learned_source or ())
    elif learned_source:
        raise UserError(f"--learned-source {learned_source[0]}: a model of a table proposes nothing")
    elif label is None:
        raise UserError("--table needs --label, the column to predict")
    else:
        name = model or re.sub(r"[^A-Za-z0-9_-]+", "_", table.stem.partition(".")[0])[:64]
        require_kind(model_repository, name, "table")
        import_tensorflow_quietly()
        from training.table.train import settings_for, train_table

        ids = [column for column in (id_columns or "").split(",") if column]
        with progress() as tell:
            made = train_table(
                table, label, model_repository, name, time_column, ids, positive,
                lambda rows: adjusted(settings_for(rows)), tell,
            )  # fmt: skip
        for note in made.notes:
            print(note)
        _print_metrics({"MLP": made.metrics, "logistic regression": made.baseline})
        print(f"train: {name} version {made.bundle.name} in {made.bundle}")


def _train_ranking(
    data: Path, repository: Path, model: str, adjusted: SettingsChange, learned: Sequence[LearnedSource]
) -> None:
    from feature_repo.paths import DataPaths
    from training.dataset.build import built_key, require_built

    paths = DataPaths(data)
    require_built(paths)  # before an import of ten seconds
    import_tensorflow_quietly()
    from feature_repo.store import service_name
    from training.evaluate.card import folder_of, write_card
    from training.export import Identity, export_bundle
    from training.fit import train as fit_and_evaluate
    from training.retrieval.bundled import fit_bundled, require_learned
    from training.settings import Settings
    from training.shards import RANKING, Split

    dataset = paths.dataset
    require_learned(paths, learned)
    with progress() as tell:
        trained = fit_and_evaluate(dataset, RANKING, adjusted(Settings()), tell)
        test = Split(dataset / "test", RANKING)
        sources = fit_bundled(paths, learned, tell)
        notes = {"dataset": built_key(paths), **sources.notes()}
        identity = Identity(model, "ranking", service_name, notes=notes)
        bundle = export_bundle(trained, test, repository, identity, tell, sources.write)
    for note in trained.notes:
        print(f"train: {note}")
    _print_metrics({"MLP": trained.metrics})
    for name, how in sources.searches().items():
        print(f"train: {name} {how}")
    print(f"train: {model} version {bundle.name} in {bundle}. Next: apply")
    write_card(bundle, None, folder_of(bundle))


def _refuse_table_options(**options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise UserError(f"--{name.replace('_', '-')} {value}: only with --table")


def import_tensorflow_quietly() -> None:
    """Import TensorFlow with the process's standard error closed to it: its start-up messages heed no setting."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"keras\..*")
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _print_metrics(models: dict[str, dict[str, float]]) -> None:
    """Test metrics, a column a model."""
    from rich.table import Table

    shown = Table("test set", *models)
    for name in next(iter(models.values())):
        shown.add_row(name, *(f"{m[name]:,.5g}" if abs(m[name]) < 1e4 else f"{m[name]:,.0f}" for m in models.values()))
    stdout().print(shown)
