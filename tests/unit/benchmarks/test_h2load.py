"""What h2load prints, and what it does not notice."""

from __future__ import annotations

import pytest

from benchmarks.load.h2load import rate

PRINTED = """
finished in 1.00s, 3504.00 req/s, 7.38MB/s
requests: 3504 total, 3506 started, 3504 done, 3504 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 3504 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 7.38MB (7733447) total, 13.60KB (13929) headers (space savings 96.26%), 9.41MB ({data}) data
"""


def test_the_rate_of_a_good_run_is_read() -> None:
    assert rate(PRINTED.format(failed=0, data=3504 * 105), reply_bytes=100, connections=2) == 3504.0


def test_replies_that_came_too_late_to_be_counted_do_no_harm() -> None:
    assert rate(PRINTED.format(failed=0, data=3506 * 105), reply_bytes=100, connections=2) == 3504.0


def test_a_grpc_call_that_failed_brings_no_data_and_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="3504 replies"):
        rate(PRINTED.format(failed=0, data=3503 * 105), reply_bytes=100, connections=2)


def test_failed_calls_are_refused() -> None:
    with pytest.raises(RuntimeError, match="failed"):
        rate(PRINTED.format(failed=3, data=3504 * 105), reply_bytes=100, connections=2)


def test_other_output_is_shown() -> None:
    with pytest.raises(RuntimeError, match="no route"):
        rate("no route", reply_bytes=100, connections=2)
