"""Getting events in: ingest and synthesize."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoprank.cli.app import app
from shoprank.cli.console import stderr, stdout
from shoprank.cli.options import DataDir
from shoprank.errors import UserError

if TYPE_CHECKING:
    from feature_repo.paths import DataPaths
    from training.ingest import QualityReport, Source


class SourceName(StrEnum):
    """The sources there are."""

    completejourney = "completejourney"
    shoplog = "shoplog"
    movielens = "movielens"
    clickstream = "clickstream"
    table = "table"


@app.command()
def ingest(
    source: Annotated[SourceName, typer.Option(help="Where the events come from.")] = SourceName.completejourney,
    file: Annotated[
        list[str] | None, typer.Option(help="Event file or glob pattern, may be repeated; of movielens, its folder.")
    ] = None,
    map_file: Annotated[Path | None, typer.Option("--map", help="Column map (TOML) of source table.")] = None,
    data: DataDir = Path("data"),
    until: Annotated[datetime | None, typer.Option(help="Reject events after this time, UTC; now by default.")] = None,
    memory_limit: Annotated[str, typer.Option(help="Memory DuckDB may use before it spills to disk.")] = "1GB",
) -> None:
    """Read events from a source, clean them, and say what was found."""
    from rich.progress import Progress

    from feature_repo.paths import DataPaths
    from training.ingest import ingest as run

    paths = DataPaths(data)
    reader = _source(source, file or [], map_file)
    with Progress(console=stderr(), transient=True) as progress:
        task = progress.add_task("ingest")

        def stage(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        before = _there_before(paths)
        report = run(reader, paths, until, memory_limit, stage)
    _print(report)
    for kind, count in report.undescribed.items():
        if count:
            print(f"ingest: the table of {kind} has no row of {count:,} of the {getattr(report, kind):,} in the events")
    if "purchase" not in report.events_by_type:
        print("ingest: none of the events is a purchase, which is what models learn from")
    if before:
        print(f"ingest: {before} were there before and are replaced; to keep them give their files again, too")
    print(
        f"ingest: {report.rows_kept:,} of {report.rows_read:,} events of {report.users:,} users "
        f"kept in {paths.events}; the rest, with reasons, in {paths.rejected}"
    )


@app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    events: Annotated[int, typer.Option(min=1, help="Events to write, about.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=1, max=10_000_000)] = 50_000,
    items: Annotated[int, typer.Option(min=1, max=100_000_000)] = 20_000,
    days: Annotated[int, typer.Option(min=1, max=10_000)] = 120,
    dirty: Annotated[float, typer.Option(min=0, max=1, help="Share of rows spoiled on purpose.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write seeded synthetic events in the shop-log format: sessions that view, put into a cart, buy, and come back."""
    from rich.progress import Progress

    from training.synthetic import Shop, write_shop_log

    if out.is_dir():
        raise UserError(f"--out {out}: a folder, not a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    with Progress(console=stderr(), transient=True) as progress:
        task = progress.add_task("synthesize", total=events)
        written = write_shop_log(
            out, events, Shop(users, items, days), seed, dirty, lambda n: progress.update(task, completed=n)
        )
    print(f"synthesize: {written:,} events in {out}")


def _source(name: SourceName, files: list[str], map_file: Path | None) -> Source:
    from training.ingest.clickstream import Clickstream
    from training.ingest.completejourney import CompleteJourney
    from training.ingest.movielens import MovieLens
    from training.ingest.shoplog import ShopLog
    from training.ingest.table import MappedTable

    if name is SourceName.completejourney:
        if files:
            raise UserError("--file: source completejourney reads its package; choose --source shoplog or table")
        return CompleteJourney()
    if name is SourceName.shoplog:
        return ShopLog(files)
    if name is SourceName.clickstream:
        if files:
            raise UserError("--file: source clickstream makes its events; choose --source shoplog or table")
        return Clickstream()
    if name is SourceName.movielens:
        if len(files) > 1:
            raise UserError("--file: source movielens reads one folder")
        return MovieLens(Path(files[0]) if files else None)
    if map_file is None:
        raise UserError("--map: source table needs a column map; see docs/data.md")
    return MappedTable(files, map_file)


def _there_before(paths: DataPaths) -> str:
    """The events of an earlier ingest in words; empty where there are none."""
    from training.ingested import event_range, events_kept

    try:
        (first, last), kept = event_range(paths), events_kept(paths)
    except UserError:
        return ""
    return f"{kept:,} events from {first} to {last}"


def _print(report: QualityReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    rows = Table("rows", "count", *(["the first"] if report.examples else []), title=f"data quality of {report.source}")
    rows.add_row("read", f"{report.rows_read:,}")
    for reason, count in report.rejected.items():
        rows.add_row(f"rejected: {reason}", f"{count:,}", escape(report.examples[reason]))
    rows.add_row("kept", f"{report.rows_kept:,}")
    for kind, count in report.events_by_type.items():
        rows.add_row(f"  of type {kind}", f"{count:,}")
    columns = Table("column", "smallest", "largest", "missing")
    for name in {**report.ranges, **report.null_rates}:
        low, high = report.ranges.get(name, ["–", "–"])
        missing = report.null_rates.get(name)
        columns.add_row(name, str(low), str(high), "–" if missing is None else f"{missing:.2%}")
    stdout().print(rows, columns)
