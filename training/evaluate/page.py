"""Tables in pages of documentation: each stands between `<!-- NAME -->` and `<!-- /NAME -->`, and is written anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from shoprank.errors import UserError


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def placed(page: str, tables: Mapping[str, str]) -> str:
    """The page with every table in its place; an empty one leaves the place empty.

    Raises UserError where the page has no place for one, or several.
    """
    for name, text in tables.items():
        place = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        written = f"{text}\n" if text else ""
        page, count = place.subn(lambda match, written=written: f"{match[1]}{written}{match[2]}", page)  # type: ignore[misc]
        if count != 1:
            raise UserError(f"the page has {count} places for {name}")
    return page
