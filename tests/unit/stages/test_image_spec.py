"""The stage `imageSpec`: where it stands, what its key is made of, what it makes of the configuration."""

from msgspec.structs import replace

from conveyor.config.models import DockerInstructions
from conveyor.stages.order import conveyor_of
from stapel.image_spec import ImageSpec
from stapel.oci.api import ImageConfig
from tests.unit.build.worlds import HERE, image
from tests.unit.stages.chains import Chains

APP = image("app", docker=DockerInstructions(HERE, user="app"), image_spec=ImageSpec(labels={"of": "%project%/%image%"}))


def resolve(world, app):
    return Chains(world).resolve((app,), world.source.commit({b"f": b""}))[app.name]


def test_it_is_the_last_stage_and_changes_nothing_below(world):
    chain = resolve(world, APP)
    assert list(chain) == ["from", "dockerInstructions", "imageSpec"]
    without = resolve(world, replace(APP, image_spec=None))
    assert list(without) == ["from", "dockerInstructions"]
    assert without["dockerInstructions"].digest == chain["dockerInstructions"].digest
    assert [kind.name for kind in conveyor_of(replace(APP, image_spec=None))].count("imageSpec") == 0


def test_its_key_holds_what_is_said_and_the_names_that_labels_ask_for(world):
    looked = resolve(world, APP)["imageSpec"]
    assert [(part.name, part.value) for part in looked.key.parts] == [("labels", {"of": "project/app"})]
    config = looked.decision.configure(ImageConfig({}))
    assert config.labels == {"of": "project/app"}
    other = resolve(world, replace(APP, name="other"))
    assert other["dockerInstructions"].digest == resolve(world, APP)["dockerInstructions"].digest
    assert other["imageSpec"].digest != looked.digest


def test_what_says_no_is_in_no_key(world):
    plain = resolve(world, replace(APP, image_spec=ImageSpec(user="a")))["imageSpec"]
    said = resolve(world, replace(APP, image_spec=ImageSpec(user="a", clear_history=False)))["imageSpec"]
    assert plain.digest == said.digest
