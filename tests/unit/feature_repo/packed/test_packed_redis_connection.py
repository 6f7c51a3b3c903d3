"""Connection strings of Redis."""

from __future__ import annotations

import pytest

from feature_repo.packed.redis_connection import connect
from shoprank.errors import UserError


@pytest.mark.parametrize("url", ["http://shop.test/0", "redis://:pa/ss@shop.test:6379", "redis://shop.test:port"])
@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
def test_a_url_of_something_else_is_a_mistake_and_is_not_repeated(url: str, kind: str) -> None:
    with pytest.raises(UserError, match="is no redis://, rediss:// or unix:// URL") as error:
        connect(url, kind, 1.0)
    assert "shop.test" not in str(error.value)
    assert "pa" not in str(error.value).replace("password", "")
