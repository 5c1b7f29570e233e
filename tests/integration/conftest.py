"""What several tests of the Docker engine share."""

import pytest

from tests.conformance.engines import docker_subject


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def subject(request, home):
    with docker_subject(home, request) as subject:
        yield subject
