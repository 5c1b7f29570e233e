"""The order in which the stages of an image stand."""

from __future__ import annotations

from conveyor.config.models import Image
from conveyor.stages.api import StageKind
from conveyor.stages.dependencies import Dependencies
from conveyor.stages.docker_instructions import DockerInstructions
from conveyor.stages.from_base import FromBase
from conveyor.stages.git_files import GitArchive, GitCache, GitLatestPatch
from conveyor.stages.user import UserStage

_COMMON: tuple[StageKind, ...] = (
    FromBase(),
    UserStage("beforeInstall"),
    Dependencies("dependenciesBeforeInstall", "before", "install"),
    GitArchive(),
    UserStage("install"),
    Dependencies("dependenciesAfterInstall", "after", "install"),
    UserStage("beforeSetup"),
    Dependencies("dependenciesBeforeSetup", "before", "setup"),
    UserStage("setup"),
    Dependencies("dependenciesAfterSetup", "after", "setup"),
)
_AFTER_PATCH: tuple[StageKind, ...] = (GitCache(), GitLatestPatch())


def conveyor_of(image: Image) -> tuple[StageKind, ...]:
    """The stages that an image may have, in order; which of them exist is for each to decide.

    An artifact ends before the last patches: it is what its stages made of the commit they were made at. The instructions
    do not depend on the patches (they were dropped with them in the tool that we follow).
    """
    if image.artifact:
        return _COMMON
    kinds: tuple[StageKind, ...]
    if image.dockerfile is None:
        kinds = (*_COMMON, *(() if image.disable_git_after_patch else _AFTER_PATCH), DockerInstructions())
    else:
        from conveyor.stages.dockerfile import DockerfileStage  # many projects have none

        kinds = (DockerfileStage(),)
    if image.image_spec is None:
        return kinds
    from conveyor.stages.image_spec import ImageSpecStage  # few images have one

    return (*kinds, ImageSpecStage())
