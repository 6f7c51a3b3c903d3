"""Headers of HTTP/2 as bytes (RFC 7541), as far as gRPC's core uses it: it Huffman-codes binary values alone, which are
left as they are.

Both ends keep a table of what was sent before, so that a call's headers are a byte each. A client without one would
have the server read and write them all in full, which no client of gRPC does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Header = tuple[bytes, bytes]

TABLE_BYTES = 4_096
"""Of a table, unless an end says otherwise; an entry counts for ENTRY_BYTES beside its text."""
ENTRY_BYTES = 32
HUFFMAN = b"(Huffman)"
"""Instead of a text that is coded so."""
INDEXED, INSERTED, RESIZED = 0x80, 0x40, 0x20
"""The bit that a field begins with: one of the tables, one that goes into the table, and a new size of it."""
_NAMES = (
    ":authority :method :method :path :path :scheme :scheme :status :status :status :status :status :status :status "
    "accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow "
    "authorization cache-control content-disposition content-encoding content-language content-length "
    "content-location content-range content-type cookie date etag expect expires from host if-match if-modified-since "
    "if-none-match if-range if-unmodified-since last-modified link location max-forwards proxy-authenticate "
    "proxy-authorization range referer refresh retry-after server set-cookie strict-transport-security "
    "transfer-encoding user-agent vary via www-authenticate"
)
_VALUES = {
    2: "GET", 3: "POST", 4: "/", 5: "/index.html", 6: "http", 7: "https", 8: "200", 9: "204", 10: "206", 11: "304",
    12: "400", 13: "404", 14: "500", 16: "gzip, deflate",
}  # fmt: skip
STATIC: tuple[Header, ...] = tuple(
    (name.encode(), _VALUES.get(i, "").encode()) for i, name in enumerate(_NAMES.split(), 1)
)


class Decoder:
    """Reads the blocks of one end of a connection, in the order in which they come."""

    def __init__(self, table_bytes: int = TABLE_BYTES) -> None:
        self._table: deque[Header] = deque()  # the latest first
        self._most = table_bytes
        self._used = 0
        self._seen: dict[bytes, list[Header]] = {}  # blocks of nothing but places in the tables as they are

    def read(self, block: bytes) -> list[Header]:
        """The headers of a block. Raises ValueError or IndexError where it is none that gRPC's core sends."""
        found = self._seen.get(block)
        if found is None:
            found, of_places = self._fields(block)
            if of_places:
                self._seen[block] = found
        return found

    def _fields(self, block: bytes) -> tuple[list[Header], bool]:
        """The headers, and whether all are places in the tables."""
        fields: list[Header] = []
        of_places, at = True, 0
        while at < len(block):
            first = block[at]
            if first & INDEXED:
                place, at = _number(block, at, 7)
                fields.append(self._entry(place))
            elif not first & INSERTED and first & RESIZED:
                self._most, at = _number(block, at, 5)
                self._shrink()
                of_places = False
            else:
                of_places = False
                place, at = _number(block, at, 6 if first & INSERTED else 4)
                name, at = (self._entry(place)[0], at) if place else _text(block, at)
                value, at = _text(block, at)
                fields.append((name, value))
                if first & INSERTED:
                    if HUFFMAN in (name, value):
                        raise ValueError("a text that goes into the table is Huffman-coded")
                    self._insert((name, value))
        return fields, of_places

    def _entry(self, place: int) -> Header:
        if not place:
            raise ValueError("a field of no place in the tables")
        return STATIC[place - 1] if place <= len(STATIC) else self._table[place - len(STATIC) - 1]

    def _insert(self, header: Header) -> None:
        self._table.appendleft(header)
        self._used += _bytes(header)
        self._shrink()

    def _shrink(self) -> None:
        self._seen.clear()
        while self._used > self._most:
            self._used -= _bytes(self._table.pop())


def encoded(headers: Sequence[tuple[str, str]]) -> tuple[bytes, bytes]:
    """The same headers in a connection's first block, which puts them into the table, and in all that follow.

    Raises ValueError where they have no room in a table.
    """
    plain = [(name.encode(), value.encode()) for name, value in headers]
    inserted = [header for header in plain if header not in STATIC]
    if sum(map(_bytes, inserted)) > TABLE_BYTES or any(len(text) > 126 for header in inserted for text in header):
        raise ValueError("the headers are too long")
    places = {header: len(STATIC) + len(inserted) - i for i, header in enumerate(inserted)}
    first, later = bytearray(), bytearray()
    for header in plain:
        if header in places:
            first.append(INSERTED)
            for text in header:
                first.append(len(text))
                first += text
            later.append(INDEXED | places[header])
        else:
            at = bytes([INDEXED | STATIC.index(header) + 1])
            first += at
            later += at
    return bytes(first), bytes(later)


def _bytes(header: Header) -> int:
    return len(header[0]) + len(header[1]) + ENTRY_BYTES


def _number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number whose first bits stand in a byte with others, and where it ends."""
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte, at = block[at], at + 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 128
    size, at = _number(block, at, 7)
    if at + size > len(block):
        raise ValueError("a text goes beyond its block")
    return HUFFMAN if coded else block[at : at + size], at + size
