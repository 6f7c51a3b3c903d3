"""The `models` commands: the versions of a repository, or of a running server, and who is served by which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoprank import bundle, repository
from shoprank.cli.app import app
from shoprank.cli.console import stdout
from shoprank.cli.options import ModelName, ModelRepository
from shoprank.cli.serving import Certificate, CertificateKey, RootCertificate, Token
from shoprank.errors import TrafficError, UserError
from shoprank.models import Activation, Model, ModelClient, Version
from shoprank.traffic import Share, steps

models = typer.Typer(
    help="Versions of the models: list, load, activate, roll back, canary, shadow.", no_args_is_help=True
)
app.add_typer(models, name="models")

FOLDER = Path("model_repository")
METRICS = ("roc_auc", "pr_auc", "log_loss")
Address = Annotated[
    str | None, typer.Option(help="host:port of a server to ask; without it the repository on this disk is meant.")
]
Number = Annotated[int, typer.Argument(min=1, help="The version.")]
Expected = Annotated[
    int | None, typer.Option("--if-current", min=0, help="Only where this version is active now; 0 for none.")
]
Percent = Annotated[float | None, typer.Option(help="Share of the traffic, 0 to 100 in steps of 0.01.")]


@models.callback()
def connect(
    context: typer.Context,
    root_certificate: RootCertificate = None,
    certificate: Certificate = None,
    key: CertificateKey = None,
    token: Token = None,
) -> None:
    """How a server that --address names is reached."""
    context.obj = {"root_certificate": root_certificate, "certificate": certificate, "key": key, "token": token}


def _client(context: typer.Context, address: str) -> ModelClient:
    return ModelClient(address, **context.obj)


@models.command("list")
def list_models(context: typer.Context, model_repository: ModelRepository = FOLDER, address: Address = None) -> None:
    """List the models, their versions and their traffic."""
    if address:
        with _client(context, address) as client:
            found = list(client.list())
    else:
        found = repository.models(model_repository)
    for model in found:
        _print(model)
    if not found:
        print(f"models: none in {address or model_repository}")


@models.command()
def load(
    context: typer.Context,
    version: Number,
    model: ModelName = "purchase",
    model_repository: ModelRepository = FOLDER,
    address: Address = None,
) -> None:
    """Verify a version and have the servers load it and keep it loaded."""
    if address:
        with _client(context, address) as client:
            client.load(model, version)
    else:
        repository.load(model_repository, model, version)
    print(f"models: {model} version {version} is {'loaded' if address else 'to be loaded'} and kept")


@models.command()
def unload(
    context: typer.Context,
    version: Number,
    model: ModelName = "purchase",
    model_repository: ModelRepository = FOLDER,
    address: Address = None,
) -> None:
    """Have the servers no longer keep a version loaded that nobody is served by."""
    if address:
        with _client(context, address) as client:
            client.unload(model, version)
    else:
        repository.unload(model_repository, model, version)
    print(f"models: {model} version {version} is {'let go of' if address else 'no longer to be kept'}")


@models.command()
def activate(
    context: typer.Context,
    version: Number,
    model: ModelName = "purchase",
    model_repository: ModelRepository = FOLDER,
    address: Address = None,
    expected: Expected = None,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Verify it and change nothing.")] = False,
) -> None:
    """Make a version the active one, once it is verified."""
    if address:
        with _client(context, address) as client:
            done = client.activate(model, version, expected=expected, validate_only=validate_only)
    elif validate_only:
        bundle.checked(model_repository, model, version)
        bundle.require_active(model_repository, model, expected)
    else:
        bundle.activate(model_repository, model, version, expected)
    if validate_only:
        print(f"models: {model} version {version} is good")
        return
    print(f"models: {model} version {version} is active{_where(done) if address else ''}")


@models.command()
def rollback(
    context: typer.Context,
    model: ModelName = "purchase",
    model_repository: ModelRepository = FOLDER,
    address: Address = None,
    expected: Expected = None,
) -> None:
    """Make the version active again that was active before."""
    if address:
        with _client(context, address) as client:
            done = client.rollback(model, expected=expected)
        print(f"models: {model} version {done.model.current} is active again{_where(done)}")
        return
    version = bundle.rollback(model_repository, model, expected)
    print(f"models: {model} version {version} is active again")


@models.command()
def traffic(
    context: typer.Context,
    model: ModelName = "purchase",
    canary: Annotated[
        int | None, typer.Option(min=0, help="Version that answers a share of the users; 0 ends it.")
    ] = None,
    canary_percent: Percent = None,
    shadow: Annotated[int | None, typer.Option(min=0, help="Version that scores a share unseen; 0 ends it.")] = None,
    shadow_percent: Percent = None,
    model_repository: ModelRepository = FOLDER,
    address: Address = None,
) -> None:
    """Show who is served what beside the active version; change what is given and leave the rest."""
    given = (canary, canary_percent, shadow, shadow_percent)
    if address:
        with _client(context, address) as client:
            (now,) = client.list(model)
            if any(value is not None for value in given):
                wanted = _changed(now, *given)
                now = client.route(model, *wanted, etag=now.etag)
    else:
        now = repository.model(model_repository, model)
        if any(value is not None for value in given):
            repository.route(model_repository, model, *_changed(now, *given), etag=now.etag)
            now = repository.model(model_repository, model)
    if now.reason and not address:
        raise TrafficError(now.reason)
    for name, share in (("canary", now.traffic.canary), ("shadow", now.traffic.shadow)):
        print(f"models: {model} {name}: {f'version {share.version}, {share.percent:g} %' if share else 'none'}")
    if now.reason:
        raise TrafficError(f"{address} leaves the traffic as it was: {now.reason}")


def _changed(
    now: Model, canary: int | None, canary_percent: float | None, shadow: int | None, shadow_percent: float | None
) -> tuple[Share | None, Share | None]:
    return (
        _share("canary", now.traffic.canary, canary, canary_percent),
        _share("shadow", now.traffic.shadow, shadow, shadow_percent),
    )


def _share(name: str, now: Share | None, version: int | None, percent: float | None) -> Share | None:
    """The share as it is to be: what is not given stays. Raises UserError where a new one lacks a part."""
    if version == 0:
        return None
    if version is None and percent is None:
        return now
    chosen = version if version is not None else now.version if now else None
    part = steps(percent) if percent is not None else now.steps if now else None
    if chosen is None or part is None:
        raise UserError(f"--{name} and --{name}-percent: there is no {name} yet, so both are needed")
    return Share(chosen, part)


def _where(done: Activation) -> str:
    count = len(done.processes)
    if done.everywhere:
        return f" in {count} process{'es' if count != 1 else ''}"
    behind = [str(p.pid) for p in done.processes if p.active != done.model.current]
    return f"; not yet in {len(behind)} of {count} processes: {', '.join(behind)}"


def _print(model: Model) -> None:
    from rich.table import Table

    names = [name for name in METRICS if any(name in v.metrics for v in model.versions)]
    about = ["network", "sources know"] if any(version.sources for version in model.versions) else []
    title = f"{model.name} ({model.kind})"
    table = Table("version", "state", "exported", *about, *names, title=title, title_justify="left")
    for version in model.versions:
        metrics = (f"{version.metrics[name]:.4f}" if name in version.metrics else "–" for name in names)
        made = f"{version.created_at:%Y-%m-%d %H:%M}" if version.created_at else "–"
        known = [f"of {version.sources.network_version}", str(version.sources)] if version.sources else ["–"] * 2
        table.add_row(str(version.version), _state(model, version), made, *known[: len(about)], *metrics)
    stdout().print(table)
    if model.reason:
        stdout().print(f"traffic: {model.reason}", highlight=False)
    for version in model.versions:
        if version.reason:
            stdout().print(f"version {version.version}: {version.reason}", highlight=False)


def _state(model: Model, version: Version) -> str:
    shares = {"canary": model.traffic.canary, "shadow": model.traffic.shadow}
    words = []
    for role in version.roles:
        share = shares.get(role)
        words.append(f"{role} {share.percent:g} %" if share else role)
    return ", ".join([version.state, *words])
