"""Headers as bytes: the examples of RFC 7541, and what gRPC's core writes."""

from __future__ import annotations

import pytest

from benchmarks.load.hpack import HUFFMAN, STATIC, Decoder, encoded


def test_the_table_that_both_ends_know_is_whole() -> None:
    assert len(STATIC) == 61
    assert (STATIC[0], STATIC[30], STATIC[57], STATIC[60]) == (
        (b":authority", b""), (b"content-type", b""), (b"user-agent", b""), (b"www-authenticate", b""),
    )  # fmt: skip


def test_requests_of_one_connection_are_read() -> None:
    """Appendix C.3."""
    decoder = Decoder()
    common = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
    assert decoder.read(bytes.fromhex("828684410f7777772e6578616d706c652e636f6d")) == common
    cached = [*common, (b"cache-control", b"no-cache")]
    assert decoder.read(bytes.fromhex("828684be58086e6f2d6361636865")) == cached
    third = bytes.fromhex("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")
    assert decoder.read(third)[1:] == [
        (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ]  # fmt: skip


def test_entries_leave_a_table_that_is_full() -> None:
    """Appendix C.5: a table of 256 bytes."""
    decoder = Decoder(256)
    first = (
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
        "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"
    )
    redirected = decoder.read(bytes.fromhex(first))
    assert redirected[0] == (b":status", b"302")
    assert decoder.read(bytes.fromhex("4803333037c1c0bf")) == [(b":status", b"307"), *redirected[1:]]
    with pytest.raises(IndexError):  # ":status: 302" has gone
        decoder.read(bytes([0x80 | 62 + 4]))


def test_a_block_that_was_read_before_is_read_anew_once_the_table_is_another() -> None:
    decoder = Decoder()
    decoder.read(b"\x40\x01a\x01b")
    assert decoder.read(b"\xbe") == decoder.read(b"\xbe") == [(b"a", b"b")]
    decoder.read(b"\x40\x01c\x01d")
    assert decoder.read(b"\xbe\xbf") == [(b"c", b"d"), (b"a", b"b")]
    assert decoder.read(b"\xbe") == [(b"c", b"d")]
    decoder.read(b"\x20")  # a table of no bytes
    with pytest.raises(IndexError):
        decoder.read(b"\xbe")


def test_headers_are_written_in_full_once() -> None:
    headers = [(":method", "POST"), (":path", "/t.T/M"), ("te", "trailers")]
    first, later = encoded(headers)
    assert len(later) == 3
    decoder = Decoder()
    plain = [(name.encode(), value.encode()) for name, value in headers]
    assert decoder.read(first) == decoder.read(later) == decoder.read(later) == plain


def test_what_is_not_read_is_said() -> None:
    assert Decoder().read(b"\x00\x01a\x82\xff\xff\x88") == [(b"a", HUFFMAN), (b":status", b"200")]
    with pytest.raises(ValueError, match="Huffman"):
        Decoder().read(b"\x40\x81\x00\x00")
    with pytest.raises(ValueError, match="of no place"):
        Decoder().read(b"\x80")
    with pytest.raises(ValueError, match="beyond its block"):
        Decoder().read(b"\x40\x05a")
    with pytest.raises(ValueError, match="too long"):
        encoded([(":path", "/" + "a" * 200)])
