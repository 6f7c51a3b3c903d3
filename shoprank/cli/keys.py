"""Static keys of callers: keys new."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from shoprank.cli.app import app
from shoprank.errors import UserError

keys = typer.Typer(help="Static keys that services call the server with.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command()
def new(
    name: Annotated[str, typer.Option(help="Whose key it is; stands in logs and in the audit.")],
    role: Annotated[list[str], typer.Option("--role", help="score, feedback or admin; may be repeated.")],
    file: Annotated[
        Path, typer.Option(envvar="SHOPRANK_SECURITY__PRINCIPALS", help="File of principals; made if it is not there.")
    ] = Path("principals.toml"),
    expires: Annotated[datetime | None, typer.Option(help="Moment from which it is void, UTC; never if none.")] = None,
) -> None:
    """Make a key, print it this once, and write its hash into the file. Remove the entry to revoke it."""
    from server.security.roles import Role
    from server.security.static_keys import new_key

    known = [str(each) for each in Role]
    if unknown := [each for each in role if each not in known]:
        raise UserError(f"--role {unknown[0]}: no such role; choose from {', '.join(known)}")
    print(new_key(file, name, [Role(each) for each in role], expires))
    typer.echo(
        f"keys: {name} may {', '.join(sorted(set(role)))}; its hash is in {file}, the key is kept nowhere", err=True
    )
