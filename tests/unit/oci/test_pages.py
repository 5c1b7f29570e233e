"""Pages of a list of tags."""

import pytest

from stapel.oci.pages import next_link, parse_tags
from stapel.oci.retries import Passing


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "/v2/a/tags/list?last=b&n=2"),
        ("<x>; rel=next", "x"),
        ('<p>; rel="prev", <n,1>; title="a"; rel="next"', "n,1"),
        ('<p>; rel="prev"', None),
        ("", None),
        ("<broken", None),
    ],
)
def test_links(header, expected):
    assert next_link(header) == expected


def test_lists():
    assert parse_tags(b'{"name": "x", "tags": ["b", "a", "b"]}') == ["b", "a", "b"]
    assert parse_tags(b'{"name": "x", "tags": null}') == []


@pytest.mark.parametrize("body", [b"", b'{"tags": ["a"', b"[]", b"{}", b'{"tags": [1]}', b"<html>"])
def test_what_is_no_list_may_be_one_the_next_time(body):
    with pytest.raises(Passing, match="no list of tags"):
        parse_tags(body)
