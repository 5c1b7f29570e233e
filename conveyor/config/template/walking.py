"""A template and its data to text: its nodes one after another. The values between them are `evaluating`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .bounds import (
    MAX_WRITTEN,
    STEPS_OF_A_NODE,
    STEPS_OF_A_PRINTED_CHARACTER,
    STEPS_OF_A_PRINTED_VALUE,
    STEPS_OF_A_SORTED_ENTRY,
)
from .errors import Spot
from .evaluating import Evaluation
from .functions import FunctionError
from .nodes import Action, Block, Break, Call, Continue, If, Range, Template, Text, With
from .printing import print_value
from .quoting import quoted
from .values import MISSING, AnyMap, Value, elem_type, go_type, is_true, sorted_items

if TYPE_CHECKING:
    from .execution import Run

_GOES_ON, _BREAKS, _CONTINUES = range(3)
_WITH_PIPE: Final = frozenset({Action, If, With, Range, Call})


class Walk:
    """One execution of one template."""

    __slots__ = ("_data", "_out", "_run", "_template", "_values")

    def __init__(self, run: Run, template: Template, data: Value, out: list[str]) -> None:
        self._run = run
        self._template = template
        self._data = data
        self._out = out
        self._values = Evaluation(run, template, data)

    def start(self) -> None:
        """Walk the whole template."""
        try:
            self._walk(self._data, self._template.body)
        except RecursionError:
            raise self._values.error("nested too deep") from None

    def spot(self) -> Spot:
        """Where the walk is."""
        return self._values.spot()

    def _walk(self, dot: Value, block: Block) -> int:
        """Go through a block; whether it went through, or met a `break` or `continue`."""
        run, out, values = self._run, self._out, self._values
        for node in block:
            run.steps += STEPS_OF_A_NODE
            kind = type(node)
            if kind is Text:
                text = node.text  # type: ignore[attr-defined]
                run.written += len(text)
                if run.trace is not None:
                    run.trace.note(out, self._template, node.position, text, is_copied=True)
                out.append(text)
                continue
            values.node = node
            pipe = node.pipe if kind in _WITH_PIPE else None  # type: ignore[attr-defined]
            if pipe is not None:
                run.steps += pipe.steps
            if run.steps > run.most_steps or run.written > MAX_WRITTEN:
                values.charge(0)
            if isinstance(node, Action):
                value = values.pipeline(dot, node.pipe)
                if not node.pipe.variables:
                    self._print(value)
            elif isinstance(node, (If, With)):
                signal = self._branch(dot, node)
                if signal:
                    return signal
            elif isinstance(node, Range):
                signal = self._range(dot, node)
                if signal:
                    return signal
            elif isinstance(node, Call):
                self._call_template(dot, node)
            elif isinstance(node, Break):
                return _BREAKS
            elif isinstance(node, Continue):
                return _CONTINUES
        return _GOES_ON

    def _print(self, value: Value) -> None:
        values = self._values
        if type(value) is not str:
            if value is MISSING:
                value = "<no value>"
            else:
                try:
                    value = print_value(value)
                except FunctionError as error:
                    raise values.error(str(error)) from None
                self._run.steps += STEPS_OF_A_PRINTED_VALUE + len(value) * STEPS_OF_A_PRINTED_CHARACTER
        self._run.written += len(value)
        if self._run.trace is not None and values.node is not None:
            self._run.trace.note(self._out, self._template, values.node.position, value, is_copied=False)
        self._out.append(value)

    def _branch(self, dot: Value, node: If | With) -> int:
        values = self._values
        mark = len(values.trail)
        self._run.steps += STEPS_OF_A_NODE
        value = values.pipeline(dot, node.pipe)
        signal = _GOES_ON
        if is_true(value):
            if isinstance(node, With):
                outer, values.dot_type = values.dot_type, ""
                signal = self._walk(value, node.body)
                values.dot_type = outer
            else:
                signal = self._walk(dot, node.body)
        elif node.otherwise is not None:
            signal = self._walk(dot, node.otherwise)
        values.pop(mark)
        return signal

    def _range(self, dot: Value, node: Range) -> int:
        run, values = self._run, self._values
        mark = len(values.trail)
        pipe = node.pipe
        value = values.pipeline(dot, pipe)
        pairs: Sequence[tuple[Value, Value]] | enumerate[Value] | zip[tuple[Value, Value]]
        if isinstance(value, list):
            pairs = enumerate(tuple(value))
        elif isinstance(value, (dict, AnyMap)):
            values.charge(len(value) * STEPS_OF_A_SORTED_ENTRY)  # for they are sorted
            pairs = sorted_items(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if len(pipe.variables) > 1:
                raise values.error(f"can't use {value} to iterate over more than one variable")
            numbers = range(value) if type(value) is int else map(type(value), range(value))
            pairs = zip(iter(lambda: MISSING, None), numbers, strict=False)
        elif value is MISSING:
            pairs = ()
        else:
            raise values.error(f"range can't iterate over {print_value(value)[:1000]}")
        outer = values.dot_type
        static = go_type(value) if isinstance(value, int) else elem_type(value)
        key_type = "interface {}" if type(value) is AnyMap else ""
        ran = False
        signal = _GOES_ON
        inside = len(values.trail)
        for key, element in pairs:
            ran = True
            run.steps += STEPS_OF_A_NODE
            if run.steps > run.most_steps:
                values.charge(0)
            if pipe.variables:
                values.set_loop_variables(pipe, (key, key_type), (element, static))
            values.dot_type = static
            signal = self._walk(element, node.body)
            values.pop(inside)
            if signal == _BREAKS:
                break
        values.dot_type = outer
        if not ran and node.otherwise is not None:
            signal = self._walk(dot, node.otherwise)
            values.pop(mark)
            return signal
        values.pop(mark)
        return _GOES_ON

    def _call_template(self, dot: Value, node: Call) -> None:
        run, values = self._run, self._values
        template = run.templates.get(node.name)
        if template is None:
            raise values.error(f"template {quoted(node.name)} not defined", run.nearest_template(node.name))
        data = values.pipeline(dot, node.pipe) if node.pipe else MISSING
        try:
            run.enter(template, data, self._out)
        except FunctionError as error:
            values.node = node
            raise values.error(str(error)) from None
