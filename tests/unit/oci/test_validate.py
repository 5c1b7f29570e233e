"""Each fault of an image is told, and names the part."""

import gzip

import pytest

from stapel.oci.api import Descriptor
from stapel.oci.errors import Unreachable
from stapel.oci.layout import LayoutStore
from stapel.oci.manifest import OCI_LAYER_GZIP, build_manifest, digest_bytes
from stapel.oci.validate import validate_image
from tests.unit.oci.images import Image, layer

TARS = (layer(f=b"lower"), layer(g=b"upper"))


class Manifested(Image):
    """An image that shows its manifest, and keeps its configuration as a blob."""

    def __init__(self, *tars, **options):
        super().__init__(*tars, **options)
        raw = self.config.to_bytes()
        self.blobs[digest_bytes(raw)] = raw
        self.manifest_bytes = build_manifest(raw, self.layers()).data
        self.said = build_manifest(raw, self.layers()).descriptor

    @property
    def descriptor(self):
        return self.said


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("kind", [Image, Manifested])
def test_nothing_is_wrong_with_what_we_make(compression, kind):
    assert validate_image(kind(*TARS, compression=compression)) == ()
    assert validate_image(kind(compression=compression)) == ()


def replaced_layer(image, blob, **descriptor):
    """The first layer with other bytes; its descriptor is true but for what is given."""
    said = {"digest": digest_bytes(blob), "size_bytes": len(blob), **descriptor}
    image.blobs[said["digest"]] = blob
    image._layers[0] = Descriptor(OCI_LAYER_GZIP, said["digest"], said["size_bytes"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda image: replaced_layer(image, gzip.compress(layer(f=b"other"))), "layer 1 .*: its diff id is"),
        (lambda image: replaced_layer(image, b"no tar", size_bytes=6), "layer 1 .*: "),
        (lambda image: replaced_layer(image, gzip.compress(TARS[0]), size_bytes=7), "bytes, not 7"),
        (lambda image: replaced_layer(image, gzip.compress(TARS[0]), digest="sha256:" + "0" * 64), "its digest is"),
        (lambda image: replaced_layer(image, gzip.compress(TARS[0])[:-3]), "gzip stream ends early"),
        (lambda image: image._layers.pop(), "1 layers, and 2 diff ids"),
        (lambda image: image.config.document["history"].append({"created_by": "x"}), "3 steps with a layer"),
        (lambda image: image.config.document.pop("os"), "does not say its os"),
    ],
    ids=["diff id", "no tar", "size", "digest", "cut", "layers", "history", "platform"],
)
def test_a_fault_of_layers_and_configuration(change, word):
    import re

    image = Image(*TARS)
    change(image)
    faults = validate_image(image)
    assert any(re.search(word, fault) for fault in faults), faults


def test_steps_of_the_history_without_a_layer_are_none():
    history = [{"created_by": "a"}, {"created_by": "CMD", "empty_layer": True}, {"created_by": "b"}]
    assert validate_image(Image(*TARS, history=history)) == ()


def test_faults_of_the_manifest():
    image = Manifested(*TARS)
    image.said = Descriptor(image.said.media_type, "sha256:" + "0" * 64, 5)
    digest, size = validate_image(image)
    assert "not sha256:000" in digest
    assert "bytes, not 5" in size
    image = Manifested(*TARS)
    image.manifest_bytes = b"{}"
    assert any("manifest" in fault for fault in validate_image(image))


def test_a_configuration_of_other_bytes():
    image = Manifested(*TARS)
    config = digest_bytes(image.config.to_bytes())
    image.blobs[config] += b" "
    (fault,) = validate_image(image)
    assert fault.startswith("the configuration has the digest")


def test_a_damaged_store_is_told_and_one_that_went_away_is_not_a_fault(tmp_path):
    store = LayoutStore(tmp_path)
    image = store.get(store.put(Image(*TARS)).digest)
    blob = tmp_path / "blobs" / image.layers()[1].digest.replace(":", "/")
    blob.write_bytes(blob.read_bytes()[:-1])
    (fault,) = validate_image(image)
    assert "layer 2" in fault
    assert "is damaged" in fault

    def away(blob):
        raise Unreachable("away")

    gone = Image(*TARS)
    gone.open = away
    with pytest.raises(Unreachable):
        validate_image(gone)
