"""Addresses of Redis servers, and that nothing of a password is ever in what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locking.redis_address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("redis://h", Address("h", 6379, 0, None, None, None), "redis://h:6379/0"),
        ("redis://h/", Address("h", 6379, 0, None, None, None), "redis://h:6379/0"),
        ("redis://h:7/12", Address("h", 7, 12, None, None, None), "redis://h:7/12"),
        ("redis://:pw@h", Address("h", 6379, 0, None, "pw", None), "redis://h:6379/0"),
        ("redis://u:p%40%3A%2F%23%25@h:1/2", Address("h", 1, 2, "u", "p@:/#%", None), "redis://h:1/2"),
        ("redis://u@h", Address("h", 6379, 0, "u", None, None), "redis://h:6379/0"),
        ("redis://u:p@ss@h", Address("h", 6379, 0, "u", "p@ss", None), "redis://h:6379/0"),
        ("redis://[::1]:5/1", Address("::1", 5, 1, None, None, None), "redis://[::1]:5/1"),
        ("rediss://h", Address("h", 6379, 0, None, None, {}), "rediss://h:6379/0"),
        (
            "rediss://h?ssl_ca_certs=/etc/a%20b.pem&ssl_cert_reqs=none",
            Address("h", 6379, 0, None, None, {"ssl_ca_certs": "/etc/a b.pem", "ssl_cert_reqs": "none"}),
            "rediss://h:6379/0",
        ),
    ],
)
def test_an_address_is_read(text, address, shown):
    assert parse_address(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither redis:// nor rediss://"),
        ("h:6379", "neither redis:// nor rediss://"),
        ("http://h", "neither redis:// nor rediss://"),
        ("redis://", "names no host"),
        ("redis://u:p@", "names no host"),
        ("redis://h:port", "cannot be read"),
        ("redis://h:70000", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://h/name", "not the number of a database"),
        ("redis://h/-1", "not the number of a database"),
        ("redis://h/1/2", "not the number of a database"),
        ("redis://h/²", "not the number of a database"),
        ("redis://:pa/ss@h", "cannot be read"),
        ("redis://:12/ss@h", "@ after the host"),
        ("redis://:12#ss@h", "@ after the host"),
        ("redis://h/0#x", "not the number of a database"),
        ("redis://h?ssl_cert_reqs=none", "redis:// has none"),
        ("redis://h?socket_timeout=0", "unknown setting 'socket_timeout'"),
        ("rediss://h?ssl_check_hostname=0", "unknown setting 'ssl_check_hostname'"),
        ("rediss://h?ssl_cert_reqs=optional", "`required` (the default) or `none`"),
    ],
)
def test_what_is_no_address_is_refused(text, why):
    with pytest.raises(ValueError, match="address of Redis") as caught:
        parse_address(text)
    assert why in str(caught.value)


@given(
    user=st.sampled_from(["", "user"]),
    before=st.text(alphabet="abcxyz:/?#[]@%\\ ", max_size=6),
    after=st.text(alphabet="abcxyz:/?#[]@%\\ ", max_size=6),
    rest=st.sampled_from(["h", "h:x", "h:99999", "h/x", "[::1", "", "h?y=1"]),
    scheme=st.sampled_from(["redis", "rediss", "http"]),
)
def test_a_password_that_is_not_encoded_is_not_told_either(user, before, after, rest, scheme):
    """Where it holds characters that end it for a parser, parts of it may be taken for a port, a path, a setting."""
    secret = "S3cr3T"
    text = f"{scheme}://{user}:{before}{secret}{after}@{rest}"
    try:
        address = parse_address(text)
    except ValueError as error:
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None
        assert secret.lower() not in str(error).lower()
    else:
        assert secret.lower() not in str(address).lower()
        assert secret not in repr(address)
