"""What several suites of this room share."""

import pytest

from tests.conformance.engines import ENGINES


@pytest.fixture(scope="session")
def engine_home(tmp_path_factory):
    """The home of the engines of a session: the toolchain of build containers is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def subject(request, engine_home):
    """Each engine, with nothing left behind at the end of the test."""
    with request.param(engine_home, request) as subject:
        yield subject


@pytest.fixture
def engine(subject):
    return subject.engine
