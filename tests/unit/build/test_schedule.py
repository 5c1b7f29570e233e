from tests.unit.build.worlds import image, imported, mapping, sources, stage_names


def test_smoke(world):
    source = image("s", install="write /out/x hello", git=(mapping(),))
    app = image("a", imports=(imported("s"),), beforeInstall="say x", install="write /y y", setup="say z")
    found = world.build(source, app)
    assert stage_names(found["a"]) == ["from", "beforeInstall", "dependenciesBeforeInstall", "install", "setup"]
    again = world.build(source, app)
    assert set(sources(again["a"]).values()) == {"primary"}
