"""The pipelines of a template to values, with Go's ways: what is evaluated when, what a missing value does, what fails.

A value here is one of `values`, with two that mean nothing: None is nil held by a map or a list, MISSING is no value at
all. The value of a whole pipeline is never None: it becomes MISSING, as Go unpacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .arguments import EXACT, ArgumentError, can_be_nil, checked_argument, constant, literal_argument
from .bounds import (
    CHARACTERS_MADE_IN_A_STEP,
    CHARACTERS_READ_IN_A_STEP,
    LEAST_EXTENT,
    MAX_WRITTEN,
    STEPS_OF_A_CALL,
    STEPS_OF_A_NEW_ENTRY,
    STEPS_OF_A_PRINTED_VALUE,
    STEPS_OF_AN_ELEMENT,
)
from .errors import Spot, TemplateError, spot_of_node
from .functions import GO_TYPES, Function, FunctionError, count_elements
from .nodes import Chain, Command, Dot, Field, Identifier, Literal, Nil, Node, Pipe, Template, Variable
from .values import MISSING, AnyMap, Object, TypedMap, Value, elem_type, go_type, is_true

if TYPE_CHECKING:
    from .execution import Run

_NO_FINAL: Final = object()  # a command that stands first in its pipeline


class Evaluation:
    """The values of one walk through a template.

    `node` is the part of the template that was looked at last, for that is the one which Go's errors name; `trail` the names
    of variables in the order in which they were declared; `dot_type` the static type of the dot.
    """

    __slots__ = ("_run", "_template", "_variables", "dot_type", "node", "trail")

    def __init__(self, run: Run, template: Template, data: Value) -> None:
        self._run = run
        self._template = template
        self.node: Node | None = None
        # Values by name, the innermost last; each with its static type ("" where that is the type it has).
        self._variables: dict[str, list[tuple[Value, str]]] = {"$": [(data, "")]}
        self.trail: list[str] = []
        self.dot_type = ""

    def spot(self, then: str = "") -> Spot:
        """Where the walk is."""
        template = self._template
        node = self.node
        return spot_of_node(
            template.file, template.source, node.position if node else 0, template.name, str(node or ""), then
        )

    def error(self, message: str, hint: str = "") -> TemplateError:
        """An error where the walk is."""
        return TemplateError(message, spots=(self.spot(),), hint=hint)

    def charge(self, steps: int) -> None:
        """Count steps. Raises TemplateError where they, or what is written, are too many."""
        run = self._run
        run.steps += steps
        if run.steps > run.most_steps:
            raise self.error(run.too_many_steps())
        if run.written > MAX_WRITTEN:
            raise self.error(f"the templates made more than {MAX_WRITTEN} bytes of text")

    # Variables

    def pop(self, mark: int) -> None:
        """Take back the variables that were declared since `trail` was so long."""
        trail = self.trail
        while len(trail) > mark:
            self._variables[trail.pop()].pop()

    def _push(self, name: str, value: Value) -> None:
        self._variables.setdefault(name, []).append((value, ""))
        self.trail.append(name)

    def _assign(self, name: str, value: Value, static: str = "") -> None:
        held = self._variables.get(name)
        if not held:
            raise self.error(f"undefined variable: {name}")
        held[-1] = value, static

    def set_loop_variables(self, pipe: Pipe, key: tuple[Value, str], element: tuple[Value, str]) -> None:
        """Declare, or assign, the variables of a `range`: each a value with its static type."""
        names = pipe.variables
        if pipe.assigns:
            if len(names) > 1:
                self._assign(names[0], *key)
            self._assign(names[-1], *element)
            return
        if len(names) > 1:
            self._variables[names[0]][-1] = key
        self._variables[names[-1]][-1] = element

    # Pipelines

    def pipeline(self, dot: Value, pipe: Pipe) -> Value:
        """The value of a pipeline; what it declares or assigns is done."""
        self.node = pipe
        value: Value = _NO_FINAL
        for command in pipe.commands:
            value = self._command(dot, command, value)
            if value is None:
                value = MISSING
        for name in pipe.variables:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._push(name, value)
        return value

    def _command(self, dot: Value, command: Command, final: Value) -> Value:
        arguments = command.arguments
        first = arguments[0]
        if isinstance(first, Identifier):
            return self._function(dot, first, command, arguments, final)
        if isinstance(first, (Field, Variable, Chain)):
            return self._chain(dot, first, arguments, final)
        if isinstance(first, Pipe):
            self._refuse_arguments(arguments, final)
            return self.pipeline(dot, first)
        self.node = first
        self._refuse_arguments(arguments, final)
        if isinstance(first, Dot):
            return dot
        if isinstance(first, Literal):
            try:
                return constant(first)
            except ArgumentError as error:
                raise self.error(str(error)) from None
        raise self.error("nil is not a command")

    def _refuse_arguments(self, arguments: Sequence[Node], final: Value) -> None:
        if len(arguments) > 1 or final is not _NO_FINAL:
            raise self.error(f"can't give argument to non-function {arguments[0]}")

    # Fields

    def _chain(self, dot: Value, node: Field | Variable | Chain, arguments: Sequence[Node], final: Value) -> Value:
        """A chain of fields; a method at its end gets the arguments, the first of which is the chain itself."""
        self.node = node
        names = node.names
        static = ""
        if isinstance(node, Field):
            receiver = dot
            static = self.dot_type
        elif isinstance(node, Variable):
            held = self._variables.get(node.name)
            if not held:
                raise self.error(f"undefined variable: {node.name}")
            receiver, static = held[-1]
            if not names:
                self._refuse_arguments(arguments or (node,), final)
                return receiver
        else:
            if isinstance(node.start, Nil):
                raise self.error(f"indirection through explicit nil in {node}")
            receiver = self._argument(dot, "value", node.start)
        last = len(names) - 1
        for index, name in enumerate(names):
            here, passed = (arguments, final) if index == last else ((), _NO_FINAL)
            if type(receiver) is dict or isinstance(receiver, (AnyMap, TypedMap)):
                if len(here) > 1 or passed is not _NO_FINAL:
                    raise self.error(f"{name} is not a method but has arguments")
                static = elem_type(receiver)
                receiver = receiver.get(name, MISSING)
            elif receiver is MISSING:
                return MISSING
            elif receiver is None:
                raise self.error(f"nil pointer evaluating interface {{}}.{name}")
            else:
                receiver = self._member(dot, receiver, static, name, node, here, passed)
                static = ""
        return receiver

    def _member(
        self, dot: Value, receiver: Value, static: str, name: str, node: Node, arguments: Sequence[Node], final: Value
    ) -> Value:
        hint = ""
        if isinstance(receiver, Object):
            method = receiver.methods().get(name)
            if method is not None:
                return self._call(dot, method, node, name, arguments, final)
            fields = receiver.fields()
            if name in fields:
                if len(arguments) > 1 or final is not _NO_FINAL:
                    raise self.error(f"{name} has arguments but cannot be invoked as function")
                return fields[name]
            from conveyor.config.suggestions import did_you_mean

            hint = did_you_mean(name, [*receiver.methods(), *fields])
        raise self.error(f"can't evaluate field {name} in type {static or go_type(receiver)}", hint)

    # Functions

    def _function(self, dot: Value, node: Identifier, command: Node, arguments: Sequence[Node], final: Value) -> Value:
        self.node = node
        name = node.name
        if name == "and" or name == "or":
            return self._and_or(dot, name, arguments, final)
        function = self._run.library.find(name)
        if name == "call":
            function = _naming(function, arguments, final)
        return self._call(dot, function, command, name, arguments, final)

    def _and_or(self, dot: Value, name: str, arguments: Sequence[Node], final: Value) -> Value:
        """Evaluates no more than it needs: the value of the first argument that decides, else of the last."""
        if len(arguments) < 2 and final is _NO_FINAL:
            raise self.error(f"wrong number of args for {name}: want at least 1 got 0")
        value: Value = MISSING
        for argument in arguments[1:]:
            value = self._argument(dot, "value", argument)
            if is_true(value) == (name == "or"):
                return value
        return value if final is _NO_FINAL else final

    def _call(self, dot: Value, function: Function, node: Node, name: str, arguments: Sequence[Node], final: Value) -> Value:
        kinds = function.kinds
        fixed = len(kinds)
        given = max(len(arguments) - 1, 0)
        total = given if final is _NO_FINAL else given + 1
        if function.rest:
            if total < fixed:
                raise self.error(f"wrong number of args for {name}: want at least {fixed} got {given}")
        elif total != fixed:
            raise self.error(f"wrong number of args for {name}: want {fixed} got {total}")
        values: list[Value] = [self._run] if function.runtime else []
        for index in range(given):
            kind = kinds[index] if index < fixed else function.rest
            values.append(self._argument(dot, kind, arguments[index + 1]))
        if final is not _NO_FINAL:
            values.append(self._checked(final, kinds[given] if given < fixed else function.rest))
        try:
            walked = len(values) * function.each
            if function.walks:
                walked += _extent(function, values) * function.walks
            if function.prints:
                walked += _printed(values)
            if self._run.steps + walked > self._run.most_steps:
                raise FunctionError(self._run.too_many_steps())
            self._run.steps += walked
            if function.asks:
                last, self.node = self.node, node
                result = function.call(*values)
                self.node = last
            else:
                result = function.call(*values)
        except FunctionError as error:
            self.node = node
            raise self.error(f"error calling {name}: {error}", error.hint) from None
        except TemplateError as error:
            self.node = node
            spots = (self.spot(f"error calling {name}: "), *error.spots)
            raise TemplateError(error.cause, spots=spots, hint=error.hint) from None
        except RecursionError:
            self.node = node
            raise self.error(f"error calling {name}: a value is nested too deep, or holds itself") from None
        self._count(function, values, result)
        return result

    def _count(self, function: Function, arguments: Sequence[Value], result: Value) -> None:
        """Count what a call took: the texts that it read, the text or the elements that it made."""
        run = self._run
        steps = STEPS_OF_A_CALL
        for argument in arguments:
            if type(argument) is str:
                steps += len(argument) // CHARACTERS_READ_IN_A_STEP
        if type(result) is str:
            run.written += len(result)
            if not function.renders:
                steps += len(result) // CHARACTERS_MADE_IN_A_STEP
        elif isinstance(result, list):
            steps += len(result) * STEPS_OF_AN_ELEMENT
        elif isinstance(result, TypedMap):  # always a new one, while a `dict` is mostly one that was there
            steps += len(result) * STEPS_OF_A_NEW_ENTRY
        run.steps += steps
        if run.steps > run.most_steps:
            self.charge(0)

    # Arguments

    def _argument(self, dot: Value, kind: str, node: Node) -> Value:
        """The value of an argument, checked to be what the parameter takes."""
        self.node = node
        if isinstance(node, (Field, Variable, Chain)):
            return self._checked(self._chain(dot, node, (), _NO_FINAL), kind)
        if isinstance(node, Pipe):
            return self._checked(self.pipeline(dot, node), kind)
        if isinstance(node, Literal):
            try:
                return literal_argument(node, kind)
            except ArgumentError as error:
                raise self.error(str(error)) from None
        if isinstance(node, Dot):
            return self._checked(dot, kind)
        if isinstance(node, Identifier):
            return self._checked(self._function(dot, node, node, (), _NO_FINAL), kind)
        if kind == "value":
            return MISSING
        if not can_be_nil(kind):
            raise self.error(f"cannot assign nil to {GO_TYPES.get(kind, kind)}")
        return None

    def _checked(self, value: Value, kind: str) -> Value:
        """The value, if a parameter of that kind takes it."""
        if type(value) is EXACT.get(kind):
            return value
        try:
            return checked_argument(value, kind)
        except ArgumentError as error:
            raise self.error(str(error)) from None


def _naming(call: Function, arguments: Sequence[Node], final: Value) -> Function:
    """`call` with the words for what it calls as its first argument: its message shows them."""
    if len(arguments) > 1:
        shown = str(arguments[1])
    elif final is _NO_FINAL:
        return call
    else:
        shown = final if type(final) is str else f"<{go_type(final)} Value>"
    named = Function(call.name, "", lambda *values: call.call(shown, *values))
    named.kinds, named.rest = call.kinds, call.rest
    return named


def _extent(function: Function, values: Sequence[Value]) -> int:
    """How much there is to go through in all of these."""
    least = 0 if function.each else LEAST_EXTENT
    return least + count_elements(values) + sum(len(value) for value in values if type(value) is str)


def _printed(values: Sequence[Value]) -> int:
    """The steps of writing the lists and maps among these as texts."""
    for value in values:
        if type(value) is not str and isinstance(value, (list, dict, AnyMap)):
            return count_elements(values) * STEPS_OF_A_PRINTED_VALUE
    return 0
