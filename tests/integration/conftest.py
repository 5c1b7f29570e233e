"""What several tests of one engine share."""

import pytest

from tests.conformance.engines import docker_subject, sandbox_subject


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def subject(request, home):
    with docker_subject(home, request) as subject:
        yield subject


@pytest.fixture
def sandbox(request, home):
    with sandbox_subject(home, request) as subject:
        yield subject
