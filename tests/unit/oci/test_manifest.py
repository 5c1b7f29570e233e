import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stapel.oci.api import Descriptor
from stapel.oci.errors import Broken, NotFound
from stapel.oci.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    build_index,
    build_manifest,
    choose_platform,
    digest_bytes,
    matches,
    parse_manifest,
    parse_time_ms,
)

DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
D = digest_bytes(b"x")


def test_an_index_has_every_platform_and_is_dockers_where_its_manifests_are():
    dockers = [(Descriptor(DOCKER_MANIFEST, D, 1), "linux/amd64"), (Descriptor(DOCKER_MANIFEST, D, 2), "linux/arm/v7")]
    index, data = build_index(dockers)
    assert (index.media_type, index.digest, index.size_bytes) == (DOCKER_INDEX, digest_bytes(data), len(data))
    assert choose_platform(json.loads(data), "linux/arm/v7", "it") == dockers[1][0]
    mixed, _ = build_index([*dockers, (Descriptor(OCI_MANIFEST, D, 3), "linux/s390x")])
    assert mixed.media_type == OCI_INDEX
    assert build_index(dockers)[0] == index


def test_a_built_manifest_is_read_back():
    built = build_manifest(b"{}", [Descriptor(OCI_LAYER_GZIP, D, 1)])
    assert built.descriptor.media_type == OCI_MANIFEST
    assert matches(built.data, built.descriptor.digest)
    assert parse_manifest(built.data, "", "it") == built
    assert build_manifest(b"{}", [Descriptor(OCI_LAYER_GZIP, D, 1)]) == built


def test_docker_layers_make_a_docker_manifest_unless_mixed():
    assert build_manifest(b"{}", [Descriptor(DOCKER_GZIP, D, 1)]).descriptor.media_type == DOCKER_MANIFEST
    mixed = build_manifest(b"{}", [Descriptor(DOCKER_GZIP, D, 1), Descriptor(OCI_LAYER_GZIP, D, 1)])
    assert mixed.descriptor.media_type == OCI_MANIFEST
    assert {layer.media_type for layer in mixed.layers} == {OCI_LAYER_GZIP}
    assert build_manifest(b"{}", []).descriptor.media_type == OCI_MANIFEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"schemaVersion":1,"fsLayers":[]}',
        b'{"schemaVersion":2,"manifests":[]}',
        json.dumps({"mediaType": OCI_MANIFEST, "layers": []}).encode(),
        json.dumps({"mediaType": OCI_MANIFEST, "config": {"digest": D, "size": 1}}).encode(),
        json.dumps({"mediaType": OCI_MANIFEST, "config": {"digest": D, "size": -1}, "layers": []}).encode(),
        json.dumps({"mediaType": OCI_MANIFEST, "config": {"digest": "sha256:../..", "size": 1}, "layers": []}).encode(),
        json.dumps({"mediaType": OCI_MANIFEST, "config": {"digest": D, "size": True}, "layers": []}).encode(),
        json.dumps({"mediaType": OCI_MANIFEST, "config": {"digest": D, "size": 1}, "layers": [1]}).encode(),
    ],
)
def test_documents_that_are_no_image(data):
    with pytest.raises(Broken, match=r"^image x"):
        parse_manifest(data, "", "image x")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda deep: st.lists(deep) | st.dictionaries(st.text(), deep)))
def test_any_json_is_an_image_or_broken(value):
    with contextlib.suppress(Broken):
        parse_manifest(json.dumps(value).encode(), OCI_MANIFEST, "it")


def entry(platform, digest):
    os_, architecture, *variant = platform.split("/")
    has = {"os": os_, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
    return {"mediaType": OCI_MANIFEST, "digest": digest_bytes(digest), "size": 1, "platform": has}


INDEX = {
    "manifests": [
        entry("linux/arm/v6", b"v6"),
        entry("linux/arm/v7", b"v7"),
        entry("linux/amd64", b"amd"),
        entry("linux/arm64/v8", b"arm64"),
        entry("unknown/unknown", b"attestation"),
    ]
}


@pytest.mark.parametrize(
    ("platform", "chosen"),
    [
        ("linux/amd64", b"amd"),
        ("linux/arm64", b"arm64"),
        ("linux/arm64/v8", b"arm64"),
        ("linux/arm/v6", b"v6"),
        ("linux/arm/v7", b"v7"),
        ("linux/arm", b"v7"),
        ("linux/arm/v8", b"v7"),
        ("linux/amd64/v2", b"amd"),
    ],
)
def test_choosing_a_platform(platform, chosen):
    assert choose_platform(INDEX, platform, "it").digest == digest_bytes(chosen)


@pytest.mark.parametrize("platform", ["linux/s390x", "windows/amd64", "linux/arm/v5", "unknown/unknown/x"])
def test_a_platform_that_is_not_there_names_those_that_are(platform):
    with pytest.raises(NotFound, match=r"linux/arm/v6, linux/arm/v7, linux/amd64, linux/arm64/v8$"):
        choose_platform(INDEX, platform, "it")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("2024-01-02T03:04:05.123456789Z", 1704164645123),
        ("2024-01-02T03:04:05+02:00", 1704157445000),
        ("0001-01-01T00:00:00Z", 0),
        ("yesterday", 0),
        (None, 0),
        (5, 0),
    ],
)
def test_times(value, expected):
    assert parse_time_ms(value) == expected
