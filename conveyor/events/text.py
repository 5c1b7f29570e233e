"""Events in words. Pure: an event in, lines out; the views decide where and when they are shown."""

from __future__ import annotations

import time

from msgspec import Struct

from conveyor.build.results import BuildResult, Failure, ImageResult, MissingStage, StageResult
from conveyor.events.api import (
    Event,
    Fetching,
    Finished,
    ImageFailed,
    ImageMissing,
    PlanMade,
    StageBuilt,
    StageStarted,
    StageUsed,
    StageWaits,
    Warned,
)
from conveyor.events.lines import strip_control
from conveyor.events.tail import LINES

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KEY_WIDTH = 9


class Look(Struct, frozen=True):
    """How events are put: with colours or without; `verbose`: where things come from; `debug`: digests and whole ids too."""

    colors: bool = False
    verbose: bool = False
    debug: bool = False

    def green(self, text: str) -> str:
        """Good news."""
        return self._color("32", text)

    def yellow(self, text: str) -> str:
        """Work, and warnings."""
        return self._color("33", text)

    def red(self, text: str) -> str:
        """Failure."""
        return self._color("31", text)

    def _color(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colors else text


def image_label(image: str) -> str:
    """The name of an image as it is shown."""
    return image or "~"


def stage_label(image: str, stage: str, platform: str = "") -> str:
    """A stage as it is shown, and as `--introspect-stage` takes it, but for its platform."""
    label = f"{image_label(image)}/{stage}" if stage else image_label(image)
    return f"{label} [{platform}]" if platform else label


def event_lines(event: Event, look: Look) -> list[str]:
    """The lines that tell an event, without line ends. A `StageLog` gives none: its lines are the view's to join."""
    match event:
        case PlanMade():
            return _plan(event)
        case StageUsed(result):
            label = stage_label(result.image, result.stage, result.platform)
            return [look.green(f"Use previously built image for {label}"), *_fields(result, look)]
        case StageStarted():
            return _started(event, look)
        case StageWaits():
            label = stage_label(event.image, event.stage, event.platform)
            return [f"Waiting to save {label}: {_owner(event.owner)} holds its lock"]
        case StageBuilt(result):
            return _built(result, look)
        case ImageFailed(failure):
            return _failed(failure, look)
        case ImageMissing(missing):
            return _missing(missing, look)
        case Warned(message):
            first, *rest = _clean_lines(message)
            return [look.yellow(f"Warning: {first}"), *("  " + line for line in rest)]
        case Fetching(what, url):
            return [f"Fetching {what} of {url}"]
        case Finished(result):
            return _summary(result, look)
        case _:
            return []


def size_text(size_bytes: int) -> str:
    """`12.3 MiB`: the greatest unit of 1024 in which the number is at least one; whole bytes."""
    value = float(size_bytes)
    for unit in _UNITS:
        if round(abs(value), 1) < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit returns")


def seconds_text(seconds: float) -> str:
    """`12.34 seconds`."""
    return f"{seconds:.2f} seconds"


def _clean_lines(text: str) -> list[str]:
    return [strip_control(line) for line in text.splitlines()] or [""]


def _owner(owner: str) -> str:
    return strip_control(owner) or "another build"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plan(plan: PlanMade) -> list[str]:
    limit = (
        f"no more than {_count(plan.limit, 'image')} at the same time"
        if plan.limit
        else "any number of images at the same time"
    )
    lines = [f"Concurrent builds plan{f' for {plan.platform}' if plan.platform else ''} ({limit})"]
    for index, images in enumerate(plan.sets):
        lines.append(f"Set #{index}:")
        lines += [f"- {'artifact' if image.artifact else 'image'} {image_label(image.name)}" for image in images]
        lines.append("")
    return lines


def _started(event: StageStarted, look: Look) -> list[str]:
    lines = [look.yellow(f"Building stage {stage_label(event.image, event.stage, event.platform)}") + f" ({event.why})"]
    if look.verbose and event.why.nearest:
        lines.append(_field("nearest", event.why.nearest))
    if look.debug:
        lines.append(_field("digest", event.digest))
    return lines


def _built(result: StageResult, look: Look) -> list[str]:
    label = stage_label(result.image, result.stage, result.platform)
    line = look.green(f"Built stage {label}") + f" ({seconds_text(result.seconds)})"
    if result.discarded:
        line += ", discarded: another build saved this stage first, and that one is used"
    return [line, *_fields(result, look)]


def _field(key: str, value: str) -> str:
    return f"{key:>{_KEY_WIDTH}}: {value}"


def _fields(result: StageResult, look: Look) -> list[str]:
    size = size_text(result.size_bytes)
    if result.parent_size_bytes >= 0:
        grown = result.size_bytes - result.parent_size_bytes
        size += f" ({'-' if grown < 0 else '+'}{size_text(abs(grown))})"
    plain_id = result.image_id.rpartition(":")[2]
    fields = [
        ("name", result.reference),
        ("id", result.image_id if look.debug else plain_id[:12]),
        ("created", _time_text(result.created_ms)),
        ("size", size),
        ("commit", result.commit),
        ("why", str(result.why) if result.why else ""),
    ]
    if look.verbose:
        fields.append(("source", result.source))
    if look.debug:
        fields += [("digest", result.digest), ("manifest", result.image_digest)]
    return [_field(key, value) for key, value in fields if value]


def _time_text(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ms // 1000))


def _failed(failure: Failure, look: Look) -> list[str]:
    image = stage_label(failure.image, "", failure.platform)
    first, *rest = _clean_lines(failure.message)
    if failure.blocked_by:
        return [look.red(f"Image {image} is not built") + f": {_blocked(failure)}"]
    lines = [look.red(f"Failed {stage_label(failure.image, failure.stage, failure.platform)}") + f": {first}"]
    lines += ["  " + line for line in rest]
    if failure.tail:
        # The nameless image needs no name, and a shell would take its sign for the home directory.
        target = f"{failure.image}/{failure.stage}" if failure.image else ""
        more = f" (`conveyor logs {target}".rstrip() + "` shows all of it)" if len(failure.tail) >= LINES else ""
        lines.append(f"  Last {_count(len(failure.tail), 'line')} of its log{more}:")
        lines += ["  | " + strip_control(line) for line in failure.tail]
    where = f"image {image}" + (f", stage {failure.stage}" if failure.stage else "")
    lines.append(f"  exit status {failure.status}, {where}" if failure.status else f"  {where}")
    if hint := failure.hint or _hint(failure):
        lines += ["  " + line for line in _clean_lines("Try: " + hint)]
    return lines


def _blocked(failure: Failure) -> str:
    other = image_label(failure.blocked_by)
    if failure.reason == "not_started":
        return f"nothing is started any more since {other} failed"
    return f"it needs {other}, which is not there"


def _hint(failure: Failure) -> str:
    if not failure.status:
        return ""
    return f"correct the commands of stage {failure.stage}; with --introspect-error a shell opens where they failed."


def _missing(missing: MissingStage, look: Look) -> list[str]:
    image = stage_label(missing.image, "", missing.platform)
    lines = [look.red(f"Image {image} is not built") + f": stage {missing.stage} is not stored ({missing.why})"]
    if look.verbose and missing.why.nearest:
        lines.append(_field("nearest", missing.why.nearest))
    if look.debug:
        lines.append(_field("digest", missing.digest))
    if missing.unknown:
        lines.append(f"  Not known, for it depends on that stage: {', '.join(missing.unknown)}")
    lines.append("  Try: build it without --require-built-images, or fetch the commits whose stages are stored.")
    return lines


def _summary(result: BuildResult, look: Look) -> list[str]:
    stages = [stage for image in result.images for stage in image.stages]
    discarded = sum(stage.discarded for stage in stages)
    built = sum(stage.source == "built" and not stage.discarded for stage in stages)
    counts = f"{_count(len(result.images), 'image')}; stages: {len(stages) - built - discarded} used, {built} built"
    if discarded:
        counts += f", {discarded} discarded"
    lines = ["", f"Build summary: {counts} ({seconds_text(result.seconds)})"]
    for image in result.images:
        lines += [f"  {image_label(image.name)}: tagged {tag}" for tag in image.custom_tags]
    lines += _run_lines(result)
    lost = [_lost_line(image) for image in result.images if image.last is None]
    if lost:
        lines.append(look.red(f"{_count(len(lost), 'image')} of {len(result.images)} not built:"))
        lines += ["  " + line for line in lost]
    return lines


def _run_lines(result: BuildResult) -> list[str]:
    lines = []
    for image in result.images:
        if image.final and not image.artifact and image.shown is not None:
            # What is in the sandbox's own store is there for nobody else.
            is_own = result.engine == "sandbox" and not result.repository and image.published is None
            command = f"conveyor run {image.name}".rstrip() if is_own else f"docker run --rm {image.shown.reference}"
            lines.append(f"  {image_label(image.name)}: {command}")
    return lines


def _lost_line(image: ImageResult) -> str:
    name = image_label(image.name)
    if image.failure is not None:
        if image.failure.blocked_by:
            return f"{name}: {_blocked(image.failure)}"
        stage = f"stage {image.failure.stage}: " if image.failure.stage else ""
        name = stage_label(image.name, "", image.failure.platform)
        return f"{name}: {stage}{_clean_lines(image.failure.message)[0]}"
    if image.missing is not None:
        return f"{name}: stage {image.missing.stage} is not stored"
    return f"{name}: not reached"
