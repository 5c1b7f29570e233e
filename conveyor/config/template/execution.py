"""One rendering: templates by their names, what they are given, and what they have used of the bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .bounds import (
    CHARACTERS_READ_IN_A_STEP,
    MAX_DEPTH,
    MAX_STEPS,
    MAX_STEPS_FOR_FILES,
    STEPS_FOR_A_BYTE_READ,
    STEPS_OF_A_PARSED_TOKEN,
    STEPS_OF_A_TEMPLATE,
    STEPS_OF_A_TEXT,
    STEPS_OF_AN_ESCAPE,
)
from .errors import TemplateError, spot_of_line
from .functions import FunctionError, Library
from .lexer import tokens_of
from .nodes import Template
from .parser import parse
from .quoting import quoted
from .values import MISSING, Value
from .walking import Walk

if TYPE_CHECKING:
    from .tracing import Trace


class Run:
    """One rendering: the templates, and what has been used of its bounds. It is the `Runtime` of functions."""

    def __init__(
        self,
        library: Library,
        *,
        main: str,
        loose: bool,
        read_environment: Callable[[str], str | None],
        log: Callable[[str], None],
    ) -> None:
        self.loose = loose
        self.read_environment = read_environment
        self.log = log
        self.library = library
        self.main = main
        self.templates: dict[str, Template] = {}
        self.steps = 0
        self.most_steps = MAX_STEPS
        self.written = 0
        self.trace: Trace | None = None
        self.walks: list[Walk] = []  # of the templates that call one another, the outermost first
        self.kept: dict[tuple[str, str], Any] = {}
        self._expanded: dict[str, tuple[str, dict[str, Template]]] = {}

    def parse(self, source: str, file: str) -> None:
        """Add the templates of a text. One that is blank never replaces another of its name. Raises TemplateError."""
        self._add(self._parsed(source, file))

    def _parsed(self, source: str, file: str) -> dict[str, Template]:
        self.steps += STEPS_OF_A_TEXT + source.count("\\") * STEPS_OF_AN_ESCAPE + len(source) // CHARACTERS_READ_IN_A_STEP
        tokens = tokens_of(source, max(self.most_steps - self.steps, 0) // STEPS_OF_A_PARSED_TOKEN)
        self.steps += len(tokens) * STEPS_OF_A_PARSED_TOKEN
        if self.steps > self.most_steps:
            raise TemplateError(self.too_many_steps(), spots=(spot_of_line(file, source, tokens[-1].line if tokens else 1),))
        return parse(source, file, self.library, self._nearest_function, tokens)

    def _add(self, templates: dict[str, Template]) -> None:
        for name, template in templates.items():
            if name not in self.templates or not template.is_blank():
                self.templates[name] = template

    def allow(self, size: int) -> None:
        """More steps, for a file of so many bytes that was read: who has much to read has much to walk through."""
        self.most_steps = min(self.most_steps + size * STEPS_FOR_A_BYTE_READ, MAX_STEPS_FOR_FILES)

    def too_many_steps(self) -> str:
        """The message."""
        return f"the templates took more than {self.most_steps} steps"

    def charge(self, steps: int) -> None:
        """Count steps that a function is about to take. Raises FunctionError where they are too many."""
        self.steps += steps
        if self.steps > self.most_steps:
            raise FunctionError(self.too_many_steps())

    def include(self, name: str, data: Value) -> str:
        """Render the template of that name to a text of its own."""
        template = self.templates.get(name)
        if template is None:
            raise FunctionError(
                f"template: no template {quoted(name)} associated with template {quoted(self.main)}",
                hint=self.nearest_template(name),
            )
        return self.execute(template, data)

    def expand(self, source: str, data: Value) -> str:
        """Parse a text as a template and render it; what it defines stays."""
        found = self._expanded.get(source)
        if found is None:
            from zlib import adler32

            name = f"tpl-{adler32(source.encode('utf-8', 'surrogateescape'))}"
            found = name, self._parsed(source, name)
            self._expanded[source] = found
        self._add(found[1])
        return self.execute(found[1][found[0]], data)

    def execute(self, template: Template, data: Value) -> str:
        """Render a template. Raises TemplateError."""
        out: list[str] = []
        self.enter(template, data, out)
        text = "".join(out)
        if self.trace is not None:
            self.trace.close(out, text)
        return text

    def enter(self, template: Template, data: Value, out: list[str]) -> None:
        """Run a template, its text added to `out`. Raises TemplateError; FunctionError where it is nested too deep."""
        if len(self.walks) >= MAX_DEPTH:
            raise FunctionError(f"templates call one another more than {MAX_DEPTH} deep")
        self.steps += STEPS_OF_A_TEMPLATE
        walk = Walk(self, template, MISSING if data is None else data, out)
        self.walks.append(walk)
        try:
            walk.start()
        finally:
            self.walks.pop()

    def nearest_template(self, name: str) -> str:
        """A hint with the template that `name` may have meant."""
        from conveyor.config.suggestions import did_you_mean

        return did_you_mean(name, self.templates)

    def _nearest_function(self, name: str) -> str:
        from conveyor.config.suggestions import did_you_mean

        return did_you_mean(name, sorted(self.library.names()))
