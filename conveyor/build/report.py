"""The build report: what scripts read after a build. JSON, or lines for an environment; a failed build has one too.

Field names follow those that scripts know from `werf build --save-build-report`, so that such a script goes on working.
Ours, without a counterpart there: `Digest`, `Reason`, `Failure`, `Missing`, `Artifact`, `CustomTags`, and those at the top.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conveyor.build.replacing import replace_file
from conveyor.build.results import BuildResult, Failure, ImageResult, MissingStage, StageResult, Why
from conveyor.errors import UsageError

ENV_PREFIX = "CONVEYOR_"

_SOURCE_TYPES = {"primary": "repo", "secondary": "secondary", "built": "built"}


def report_document(result: BuildResult) -> dict[str, Any]:
    """The report as JSON values. Every image of the result is in it, complete or not; sizes are bytes, `CreatedAt` is ns."""
    several = {image.name: image.by_platform for image in result.images if image.by_platform}
    by_platform = {name: {one.platform: _image(one, one.platform) for one in found} for name, found in several.items()}
    return {
        "Runtime": {"Backend": result.engine, "InContainer": in_container()},
        "Ok": result.ok,
        "Project": result.project,
        "Commit": result.commit,
        "Repository": result.repository,
        "BuildTime": _seconds(result.seconds),
        "Images": {
            image.name: _image(image, image.platform or ("" if image.by_platform else result.platform))
            for image in result.images
        },
        **({"ImagesByPlatform": by_platform} if by_platform else {}),
    }


def env_lines(result: BuildResult) -> list[str]:
    """`NAME=value` lines for every final image that is there and no artifact, in order of configuration, without quoting.

    Raises `UsageError` where two of them have the same name in the environment (`a-b` and `a/b`).
    """
    images = [image for image in result.images if image.final and not image.artifact]
    _check_env_names(image.name for image in images)
    lines = []
    for image in images:
        if (last := image.shown) is None:
            continue
        prefix = env_name(image.name)
        repository, tag = split_reference(last.reference)
        lines += [
            f"{prefix}DOCKER_IMAGE_NAME={last.reference}",
            f"{prefix}DOCKER_IMAGE_ID={last.image_id}",
            f"{prefix}DOCKER_IMAGE_DIGEST={last.image_digest}",
            f"{prefix}DOCKER_REPO={repository}",
            f"{prefix}DOCKER_TAG={tag}",
            f"{prefix}WERF_IMAGE_NAME={image.name}",
            f"{prefix}FINAL=true",
        ]
    return lines


def env_name(image: str) -> str:
    """What the variables of an image start with: `CONVEYOR_WEB_APP_` for `web/app`, `CONVEYOR_` for the nameless one."""
    return ENV_PREFIX + (re.sub(r"[^A-Z0-9_]", "_", image.upper()) + "_" if image else "")


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of a reference, divided by the last colon after the last slash; no tag: "". A digest is dropped."""
    named = reference.partition("@")[0]
    head, colon, tag = named.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (named, "")


def check_report_path(path: Path, images: Iterable[str] = ()) -> None:
    """Refuse, before a build starts, a path that `write_report` would not take. `images`: names of the final ones, if known.

    Raises `UsageError`: another extension than .json and .env, a directory, two images with one name in the environment.
    """
    if _format(path) == "env":
        _check_env_names(images)
    if path.is_dir():
        raise UsageError(f"The build report cannot be written to {path}: it is a directory.", hint="Name a file in it.")


def write_report(result: BuildResult, path: Path) -> None:
    """Write the report in the format of the path's extension (.json, .env, none: JSON), mode 0644.

    An existing file is replaced as a whole by one rename, and is as it was where this fails; missing directories are made.
    Raises `UsageError` as `check_report_path` does, and where the file cannot be written.
    """
    check_report_path(path)
    try:
        replace_file(str(path), format_report(result, path))
    except OSError as error:
        raise UsageError(
            f"The build report cannot be written to {path}: {error.strerror or error}.",
            hint="Choose another file with --build-report-path.",
        ) from error


def format_report(result: BuildResult, path: Path) -> bytes:
    """The report in the format of the path's extension."""
    if _format(path) == "env":
        text = "".join(line + "\n" for line in env_lines(result))
    else:
        import json

        text = json.dumps(report_document(result), indent="\t", ensure_ascii=False) + "\n"
    # Messages may hold bytes of file names that are no text: escaped, they are still JSON.
    return text.encode("utf-8", "backslashreplace")


def in_container() -> bool:
    """Whether this process seems to run in a container: Docker and Podman leave these files."""
    return os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")  # noqa: PTH110 - no Path is needed for it


def _format(path: Path) -> str:
    extension = path.suffix.lower() or (".env" if path.name.lower() == ".env" else "")
    if extension not in ("", ".json", ".env"):
        raise UsageError(f"A build report is no {extension} file: {path}.", hint="Name a file that ends in .json or .env.")
    return "env" if extension == ".env" else "json"


def _check_env_names(images: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for image in images:
        other = seen.setdefault(env_name(image), image)
        if other != image:
            raise UsageError(
                f"Images {other or '~'} and {image or '~'} have the same variables in an .env report: {env_name(image)}*.",
                hint="Write a .json report, or rename one of them.",
            )


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}"


def _reason(why: Why) -> dict[str, Any]:
    return {"Kind": why.kind, "Parts": list(why.parts), "Nearest": why.nearest}


def _stored(stage: StageResult | None) -> dict[str, Any]:
    repository, tag = split_reference(stage.reference) if stage else ("", "")
    return {
        "DockerRepo": repository,
        "DockerTag": tag,
        "DockerImageID": stage.image_id if stage else "",
        "DockerImageDigest": stage.image_digest if stage else "",
        "DockerImageName": stage.reference if stage else "",
    }


def _image(image: ImageResult, platform: str) -> dict[str, Any]:
    last = image.shown
    document = {
        "WerfImageName": image.name,
        "ConfigType": "stapel",
        "Artifact": image.artifact,
        "Final": image.final,
        **_stored(last),
        "TargetPlatform": platform,
        "Rebuilt": image.rebuilt,
        "Size": last.size_bytes if last else 0,
        "BuildTime": _seconds(sum(stage.seconds for stage in image.stages)),
        "Commit": last.commit if last else "",
        "CustomTags": list(image.custom_tags),
        "Stages": [_stage(stage) for stage in image.stages],
    }
    if image.failure is not None:
        document["Failure"] = _failure(image.failure)
    if image.missing is not None:
        document["Missing"] = _missing(image.missing)
    return document


def _stage(stage: StageResult) -> dict[str, Any]:
    return {
        "Name": stage.stage,
        "Digest": stage.digest,
        **_stored(stage),
        "CreatedAt": stage.created_ms * 1_000_000,
        "Size": stage.size_bytes,
        "SourceType": _SOURCE_TYPES[stage.source],
        "BaseImagePulled": False,
        "Rebuilt": stage.source == "built",
        "BuildTime": _seconds(stage.seconds),
        "Commit": stage.commit,
        "Reason": _reason(stage.why) if stage.why else None,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "Stage": failure.stage,
        "Reason": failure.reason,
        "Message": failure.message,
        "Hint": failure.hint,
        "Status": failure.status,
        "Tail": list(failure.tail),
        "BlockedBy": failure.blocked_by,
    }


def _missing(missing: MissingStage) -> dict[str, Any]:
    return {
        "Stage": missing.stage,
        "Digest": missing.digest,
        "Reason": _reason(missing.why),
        "Unknown": list(missing.unknown),
    }
