"""What is said of what pydantic refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from shoprank.complaints import complaints


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    count: int = 0

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        if not url.startswith("https:"):
            raise ValueError("it is no https")
        return url


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inner: Inner

    @model_validator(mode="after")
    def _counts(self) -> Outer:
        if self.inner.count > 3:
            raise ValueError("more than three")
        return self


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inner": {"url": "http:"}}, "inner.url='http:': it is no https"),
        ({"inner": {"url": "http://u:secret@h"}}, "inner.url: it is no https"),
        ({"inner": {"url": "https:", "count": "x"}}, "inner.count='x': Input should be a valid integer"),
        ({"inner": {"url": "https:", "count": 4}}, "more than three"),
        ({"inner": {"token": "secret", "url": "https:"}}, "inner.token: Extra inputs"),
        ({"inner": {"count": 1}}, "inner.url: Field required"),
        ({"inner": ["secret"]}, "inner: Input should be a valid dictionary"),
    ],
)
def test_each_place_is_named_with_its_value_unless_that_may_be_secret(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(given)
    assert complaints(error.value).startswith(said)
    assert "secret" not in complaints(error.value)


def test_values_may_be_left_out_and_every_place_is_named() -> None:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate({"inner": {"url": "http:", "count": "x"}})
    said = complaints(error.value, values=False)
    assert said.startswith("inner.url: it is no https; inner.count: Input should be")
