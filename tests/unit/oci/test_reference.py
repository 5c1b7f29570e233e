import pytest
from hypothesis import given
from hypothesis import strategies as st

from stapel.oci.errors import BadReference
from stapel.oci.reference import Reference, is_loopback, is_tag, normalise, parse_reference, split_port

SHA = "sha256:" + "0a" * 32
SHA512 = "sha512:" + "0a" * 64


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("me/app", "docker.io/me/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/debian", "docker.io/library/debian:latest"),
        ("registry-1.docker.io/library/debian:12", "docker.io/library/debian:12"),
        ("docker.io/me/app:1", "docker.io/me/app:1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("[2001:DB8::1]/app", "[2001:db8::1]/app:latest"),
        ("REG.Example.com/app", "reg.example.com/app:latest"),
        ("reg.example.com/a__b/c-d/e--f.g:V1.2_3-x", "reg.example.com/a__b/c-d/e--f.g:V1.2_3-x"),
        (f"debian@{SHA}", f"docker.io/library/debian@{SHA}"),
        (f"debian:12@{SHA}", f"docker.io/library/debian:12@{SHA}"),
        (f"reg:5000/x@{SHA512}", f"reg:5000/x@{SHA512}"),
        ("local/app", "docker.io/local/app:latest"),
        ("debian:_x", "docker.io/library/debian:_x"),
    ],
)
def test_normalise(text, normalised):
    assert normalise(text) == normalised
    assert normalise(normalised) == normalised


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "debian ",
        "debian\n",
        "debian:12\n",
        "Debian",
        "Me/app",
        "reg.example.com/App",
        "debian:",
        "debian:-x",
        "debian:.x",
        "debian:" + "x" * 129,
        "debian@",
        "debian@sha256:abc",
        "debian@sha256:" + "0A" * 32,
        "debian@md5:" + "0" * 32,
        f"debian@{SHA}@{SHA}",
        "0a" * 32,
        "/debian",
        "a//b",
        "a/",
        "a/-b",
        "a/b_",
        "a/b___c",
        "a/b..c",
        "reg.example.com/",
        "reg.example.com:0/x",
        "reg.example.com:70000/x",
        "reg.example.com:x/y",
        "-reg.example.com/x",
        "reg..com/x",
        "[::g]/x",
        "[::1/x",
        "::1/x",
        "https://reg.example.com/x",
        "debian:12:13",
        "a/" + "b" * 300,
        "dëbian",
        "debian:١",
    ],
)
def test_texts_that_are_no_reference(text):
    with pytest.raises(BadReference) as caught:
        parse_reference(text)
    assert repr(text) in str(caught.value)
    assert caught.value.hint


def test_parts_of_a_reference():
    assert parse_reference(f"reg:5000/a/b:1@{SHA}") == Reference("reg:5000", "a/b", "1", SHA)
    assert parse_reference("debian").api_host == "registry-1.docker.io"
    assert parse_reference("reg:5000/a").api_host == "reg:5000"
    assert parse_reference("debian", default_registry="reg:5000") == Reference("reg:5000", "debian")


@given(
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True),
    st.from_regex(r"\A(|[A-Za-z0-9_][A-Za-z0-9_.-]{0,10})\Z", fullmatch=True),
)
def test_what_is_written_is_read_back(path, tag):
    reference = Reference("reg.example.com:5000", path, tag)
    assert parse_reference(str(reference)) == reference
    assert not tag or is_tag(tag)


@given(st.text(max_size=30))
def test_any_text_is_a_reference_with_one_spelling_or_is_refused(text):
    try:
        once = normalise(text)
    except BadReference:
        return
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("10.0.0.1", False),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("128.0.0.1", False),
        ("1password.example.com", False),
    ],
)
def test_loopback_is_this_machine_only(host, expected):
    assert is_loopback(host) is expected


def test_ports():
    assert split_port("reg:5000") == ("reg", 5000)
    assert split_port("reg") == ("reg", None)
    assert split_port("[::1]:80") == ("::1", 80)
    assert split_port("[::1]") == ("::1", None)
