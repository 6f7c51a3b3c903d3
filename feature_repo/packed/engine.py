"""Materialization without a Python object a value: Arrow batches of the offline store straight to packed records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from feast import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.dag.context import ExecutionContext
from feast.infra.compute_engines.local.arrow_table_value import ArrowTableValue
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.compute_engines.local.nodes import LocalOutputNode
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import _get_column_names
from pydantic import StrictStr
from tqdm import tqdm

from feature_repo.packed.arrow import Table, encode_batch
from feature_repo.packed.backend import Written
from feature_repo.packed.layout import kind_of
from feature_repo.packed.store import PackedOnlineStore
from feature_repo.packed.view import layout_of
from shoprank.errors import FeatureStoreError

ROWS_A_BATCH = 65_536
ROWS_A_CHUNK = 20_000


class PackedComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """`batch_engine` of `feature_store.yaml`."""

    type: StrictStr = "feature_repo.packed.PackedComputeEngine"
    """Class path of the engine."""

    backend: Literal["pandas"] | None = None
    """DataFrame library of Feast's local engine, for views that transform or aggregate."""


class PackedComputeEngine(LocalComputeEngine):  # type: ignore[misc]
    """Feast's local engine, but for how rows get into a `PackedOnlineStore`: encoded by column into a temporary file,
    then written in the order of their keys. Nothing is written before everything is encoded, so bad data leaves the old
    values; on LMDB the write is one commit, so anything else does too."""

    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **_: Any) -> LocalMaterializationJob:
        online = self.online_store
        if not isinstance(online, PackedOnlineStore):
            raise FeatureStoreError(f"PackedComputeEngine writes to a PackedOnlineStore, not a {type(online).__name__}")
        job = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            if _is_plain(task):
                self._stream(registry, task, online)
            else:
                context = self.get_execution_context(registry, task)
                _Builder(registry, task, self._get_backend(context)).build().execute(context)
        except Exception as error:  # Feast has its engines hand errors over in the job; its provider raises them
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error)
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)

    def _stream(self, registry: BaseRegistry, task: MaterializationTask, online: PackedOnlineStore) -> None:
        """From the latest rows of the source, a batch at a time."""
        view = task.feature_view
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        source = view.batch_source
        keys, features, time, created = _get_column_names(view, entities)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=time,
            created_timestamp_column=created,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        with closing(_batches(job, source.field_mapping)) as batches:
            load(self.repo_config, online, view, batches, task.tqdm_builder or no_bar)


def no_bar(rows: int) -> tqdm[Any]:
    """A bar that is not shown."""
    return tqdm(total=rows, disable=True)


def load(
    config: RepoConfig,
    online: PackedOnlineStore,
    view: FeatureView,
    batches: Iterator[pa.RecordBatch],
    bar_of: Callable[[int], tqdm[Any]] = no_bar,
) -> Written:
    """Write all rows of Arrow batches, with columns named as the view's features, keys and times.

    bar_of: makes a tqdm bar of so many rows. Raises UserError where a value is not of its declared type; then, and on
    LMDB after any failure, the store is as it was.
    """
    table = table_of_view(view)
    with Spool() as spool, closing(bar_of(0)) as bar:
        for batch in batches:
            spool.add(*encode_batch(table, batch))
            bar.update(batch.num_rows)
        bar.reset(total=len(spool))
        return online.write(config, view, [table.layout], _told(spool.chunks(), bar))


def table_of_view(view: FeatureView) -> Table:
    """What the Arrow columns of a view are."""
    kinds = {c.name: kind_of(c.dtype) for c in view.entity_columns}
    source = view.batch_source
    mapped = source.field_mapping or {}
    created = source.created_timestamp_column
    return Table(
        view=view.name,
        layout=layout_of(view),
        types={f.name: f.dtype.to_value_type() for f in view.features},
        keys=tuple((name, kinds[name]) for name in sorted(kinds)),
        time=mapped.get(source.timestamp_field, source.timestamp_field),
        created=mapped.get(created, created) if created else None,
    )


class Spool:
    """Keys in memory and records in a temporary file, to be read back in the order of the keys."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._ends: list[int] = [0]
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="shoprank-")  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of bytes that did not fit, which `add` has told
            self._file.close()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Sequence[bytes], records: Sequence[bytes]) -> None:
        """Keep rows. Raises FeatureStoreError where the temporary file has no room for them."""
        self._keys.extend(keys)
        end = self._ends[-1]
        self._ends.extend((np.cumsum(np.fromiter(map(len, records), np.int64, len(records))) + end).tolist())
        try:
            self._file.write(b"".join(records))
            self._file.flush()
        except OSError as error:
            raise FeatureStoreError(
                f"{tempfile.gettempdir()}: no room for {self._ends[-1] / 1e6:,.0f} MB of encoded rows before they are "
                f"written: {error}; TMPDIR names another folder"
            ) from error

    def chunks(self) -> Iterator[list[tuple[bytes, bytes]]]:
        """All rows by ascending key, some at a time; rows of one key come together, in the order they were added."""
        if not self._keys:
            return
        content = np.memmap(self._file, np.uint8, "r")
        keys, ends = self._keys, self._ends
        order = sorted(range(len(keys)), key=keys.__getitem__)
        start = 0
        while start < len(order):
            stop = min(start + ROWS_A_CHUNK, len(order))
            while stop < len(order) and keys[order[stop]] == keys[order[stop - 1]]:
                stop += 1
            yield [(keys[i], content[ends[i] : ends[i + 1]].tobytes()) for i in order[start:stop]]
            start = stop


class _Builder(LocalFeatureBuilder):  # type: ignore[misc]
    def build_output_nodes(self, view: FeatureView, input_node: Any) -> Any:
        node = _Output("output", self.dag_root.view, inputs=[input_node])
        self.nodes.append(node)
        return node


class _Output(LocalOutputNode):  # type: ignore[misc]
    """The last step of Feast's local plan, into packed records."""

    def execute(self, context: ExecutionContext) -> ArrowTableValue:
        rows: pa.Table = self.get_single_table(context).data
        if rows.num_rows and self.feature_view.online:
            batches = iter(rows.to_batches(max_chunksize=ROWS_A_BATCH))
            load(context.repo_config, context.online_store, self.feature_view, batches)
        if rows.num_rows and self.feature_view.offline:
            context.offline_store.offline_write_batch(context.repo_config, self.feature_view, rows, lambda done: None)
        output = ArrowTableValue(data=rows)
        context.node_outputs[self.name] = output
        return output


def _is_plain(task: MaterializationTask) -> bool:
    """Whether the view's rows are those of its source: nothing is transformed, aggregated, checked or joined."""
    view = task.feature_view
    computed = ("feature_transformation", "aggregations", "filter", "enable_validation", "source_views", "offline")
    return not task.disable_event_timestamp and task.only_latest and not any(getattr(view, a, None) for a in computed)


def _batches(job: RetrievalJob, renamed: dict[str, str] | None) -> Generator[pa.RecordBatch]:
    if isinstance(job, IbisRetrievalJob) and (duckdb := job.table.get_backend()).name == "duckdb":
        # Nothing but a batch is in memory. Ibis 12's own to_pyarrow_batches calls what DuckDB 2 has no more.
        reader = duckdb.con.sql(duckdb.compile(job.table)).to_arrow_reader(ROWS_A_BATCH)
    else:
        reader = job.to_arrow().to_reader(ROWS_A_BATCH)
    with reader:  # left open after a failure, DuckDB would refuse the connection's next query
        for batch in reader:
            yield batch.rename_columns([(renamed or {}).get(name, name) for name in batch.schema.names])


def _told(chunks: Iterator[list[tuple[bytes, bytes]]], bar: tqdm[Any]) -> Iterator[list[tuple[bytes, bytes]]]:
    for chunk in chunks:
        yield chunk
        bar.update(len(chunk))
