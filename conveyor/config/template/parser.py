"""Tokens to templates. Errors have Go's words and the line that Go names."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from . import lexer
from .bounds import STEPS_OF_A_TOKEN
from .errors import TemplateError, spot_of_line
from .lexer import Token, tokens_of
from .nodes import (
    Action,
    Block,
    Break,
    Call,
    Chain,
    Command,
    Continue,
    Dot,
    Else,
    End,
    Field,
    Identifier,
    If,
    Literal,
    Nil,
    Node,
    Pipe,
    Range,
    Template,
    Text,
    Variable,
    With,
)
from .quoting import quoted, unquoted

MAX_DEPTH: Final = 200
_DIGITS_OF_INT: Final = 19  # fewer always fit

_OPERANDS: Final = frozenset(
    {
        lexer.BOOL,
        lexer.CHARACTER,
        lexer.COMPLEX,
        lexer.DOT,
        lexer.FIELD,
        lexer.IDENTIFIER,
        lexer.NUMBER,
        lexer.NIL,
        lexer.RAW_STRING,
        lexer.STRING,
        lexer.VARIABLE,
        lexer.LEFT_PAREN,
    }
)


def parse(
    source: str, file: str, functions: Container[str], suggest: Callable[[str], str], tokens: list[Token] | None = None
) -> dict[str, Template]:
    """The templates of a text: itself under the name `file`, and what it defines.

    `suggest` gives a hint for a function that does not exist; `tokens` are those of the text where they are known.
    Raises TemplateError.
    """
    return _Parser(source, file, functions, suggest, tokens or tokens_of(source)).parse()


class _Parser:
    """Reads tokens one by one.

    `_furthest` is the last token that was looked at: its line is the one that Go names in errors.
    """

    def __init__(
        self, source: str, file: str, functions: Container[str], suggest: Callable[[str], str], tokens: list[Token]
    ) -> None:
        self._source = source
        self._file = file
        self._functions = functions
        self._suggest = suggest
        self._tokens = [*tokens, tokens[-1]]  # for a look past the end, which is an error by then
        self._index = 0
        self._furthest = 0
        self._variables = ["$"]
        self._ranges = 0
        self._depth = 0
        self._action_line = 0
        self._found: dict[str, Template] = {}

    def parse(self) -> dict[str, Template]:
        body: Block = []
        while self._peek().kind != lexer.END:
            if self._peek().kind == lexer.LEFT:
                start = self._index
                self._index += 1
                if self._next_word().kind == lexer.DEFINE:
                    self._definition()
                    continue
                self._index = start
            node = self._text_or_action()
            if isinstance(node, (End, Else)):
                raise self._error(f"unexpected {node}")
            body.append(node)
        self._add(Template(self._file, self._file, self._source, body))
        return self._found

    # Tokens

    def _peek(self) -> Token:
        index = self._index
        if index > self._furthest:
            self._furthest = index
        return self._tokens[index]

    def _next(self) -> Token:
        token = self._peek()
        self._index += 1
        return token

    def _peek_word(self) -> Token:
        """The next token that is no space, left where it is."""
        index = self._index
        token = self._tokens[index]
        if token[0] == lexer.SPACE:
            self._index = index = index + 1
            token = self._tokens[index]
        if index > self._furthest:
            self._furthest = index
        return token

    def _next_word(self) -> Token:
        token = self._peek_word()
        self._index += 1
        return token

    def _error(self, message: str, hint: str = "") -> TemplateError:
        line = self._tokens[self._furthest].line
        spot = spot_of_line(self._file, self._source, line)
        return TemplateError(message, spots=(spot,), hint=hint)

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.kind != lexer.ERROR:
            return self._error(f"unexpected {token.shown()} in {context}")
        started = ""
        if self._action_line and self._action_line != token.line:
            word = "" if token.text.endswith(" action") else " in action"
            started = f"{word} started at {self._file}:{self._action_line}"
        return self._error(token.text + started)

    def _expect_right(self, context: str) -> None:
        token = self._next_word()
        if token.kind != lexer.RIGHT:
            raise self._unexpected(token, context)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep")

    # Templates

    def _add(self, template: Template) -> None:
        earlier = self._found.get(template.name)
        if earlier is None or earlier.is_blank():
            self._found[template.name] = template
        elif not template.is_blank():
            raise self._error(f"template: multiple definition of template {quoted(template.name)}")

    def _definition(self) -> None:
        context = "define clause"
        token = self._next_word()
        if token.kind not in (lexer.STRING, lexer.RAW_STRING):
            raise self._unexpected(token, context)
        name = self._unquoted(token)
        self._expect_right(context)
        self._named_body(name, context, None)

    def _named_body(self, name: str, context: str, blamed: int | None) -> None:
        """What stands up to `end`, as a template of its own: without the variables and ranges around it.

        `blamed` is the token whose line is named where no `end` comes; None for the one that comes.
        """
        variables, ranges, action_line = self._variables, self._ranges, self._action_line
        self._variables, self._ranges, self._action_line = ["$"], 0, 0
        self._deeper()
        body, end = self._block()
        self._depth -= 1
        if not isinstance(end, End):
            self._furthest = self._furthest if blamed is None else blamed
            raise self._error(f"unexpected {end} in {context}")
        self._add(Template(name, self._file, self._source, body))
        self._variables, self._ranges, self._action_line = variables, ranges, action_line

    def _block(self) -> tuple[Block, Node]:
        """Everything up to an `end` or `else`, and that."""
        body: Block = []
        while True:
            if self._peek_word().kind == lexer.END:
                raise self._error("unexpected EOF")
            node = self._text_or_action()
            if isinstance(node, (End, Else)):
                return body, node
            body.append(node)

    def _text_or_action(self) -> Node:
        token = self._next_word()
        if token.kind == lexer.TEXT:
            return Text(token.position, token.text)
        if token.kind != lexer.LEFT:
            raise self._unexpected(token, "input")
        self._action_line = token.line
        node = self._action()
        self._action_line = 0
        return node

    def _action(self) -> Node:
        token = self._next_word()
        position = token.position
        match token.kind:
            case lexer.IF:
                return self._branch(If, position)
            case lexer.RANGE:
                return self._branch(Range, position)
            case lexer.WITH:
                return self._branch(With, position)
            case lexer.ELSE:
                following = self._peek_word()
                if following.kind not in (lexer.IF, lexer.WITH):
                    self._expect_right("else")
                return Else(following.position)
            case lexer.END_KEYWORD:
                self._expect_right("end")
                return End(position)
            case lexer.TEMPLATE:
                return self._call()
            case lexer.BLOCK:
                return self._block_call()
            case lexer.BREAK | lexer.CONTINUE:
                return self._jump(Break(position) if token.kind == lexer.BREAK else Continue(position))
        self._index -= 1
        return Action(position, self._pipeline("command", lexer.RIGHT))

    def _jump(self, node: Break | Continue) -> Node:
        following = self._next_word()
        if following.kind != lexer.RIGHT:
            raise self._unexpected(following, str(node))
        if not self._ranges:
            raise self._error(f"{node} outside {{{{range}}}}")
        return node

    def _branch(self, make: type[If] | type[Range] | type[With], position: int) -> Node:
        self._deeper()
        declared = len(self._variables)
        pipe = self._pipeline(make.word, lexer.RIGHT)
        self._ranges += make is Range
        body, end = self._block()
        self._ranges -= make is Range
        otherwise: Block | None = None
        if isinstance(end, Else):
            following = self._peek().kind
            if make is not Range and following == (lexer.IF if make is If else lexer.WITH):
                self._index += 1
                otherwise = [self._branch(make, end.position)]
            else:
                otherwise, end = self._block()
                if not isinstance(end, End):
                    raise self._error(f"expected end; found {end}")
        del self._variables[declared:]
        self._depth -= 1
        return make(pipe.position, pipe, body, otherwise)

    def _call(self) -> Node:
        token = self._next_word()
        name = self._template_name(token, "template clause")
        pipe = None
        if self._next_word().kind != lexer.RIGHT:
            self._index -= 1
            pipe = self._pipeline("template clause", lexer.RIGHT)
        return Call(token.position, name, pipe)

    def _block_call(self) -> Node:
        token = self._next_word()
        name = self._template_name(token, "block clause")
        pipe = self._pipeline("block clause", lexer.RIGHT)
        self._named_body(name, "block clause", self._furthest)
        return Call(token.position, name, pipe)

    def _template_name(self, token: Token, context: str) -> str:
        if token.kind not in (lexer.STRING, lexer.RAW_STRING):
            raise self._unexpected(token, context)
        return self._unquoted(token)

    def _unquoted(self, token: Token) -> str:
        try:
            return unquoted(token.text)
        except ValueError as error:
            raise self._error(str(error)) from None

    # Pipelines

    def _pipeline(self, context: str, end: int) -> Pipe:
        pipe = Pipe(self._peek_word().position)
        begin = self._index
        self._declarations(pipe, context)
        while True:
            token = self._next_word()
            if token.kind == end:
                break
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context)
            self._index -= 1
            pipe.commands.append(self._command())
        if not pipe.commands:
            raise self._error(f"missing value for {context}")
        pipe.steps = (self._index - begin) * STEPS_OF_A_TOKEN
        for number, command in enumerate(pipe.commands[1:], 2):
            if isinstance(command.arguments[0], (Literal, Dot, Nil)):
                raise self._error(f"non executable command in pipeline stage {number}")
        return pipe

    def _declarations(self, pipe: Pipe, context: str) -> None:
        while self._peek_word().kind == lexer.VARIABLE:
            start = self._index
            variable = self._next()
            self._peek()
            following = self._peek_word()
            if following.kind in (lexer.ASSIGN, lexer.DECLARE):
                self._index += 1
                pipe.assigns = following.kind == lexer.ASSIGN
                pipe.variables.append(variable.text)
                self._variables.append(variable.text)
                return
            if following.kind != lexer.CHAR or following.text != ",":
                self._index = start
                return
            self._index += 1
            pipe.variables.append(variable.text)
            self._variables.append(variable.text)
            if context != "range" or len(pipe.variables) > 1:
                raise self._error(f"too many declarations in {context}")
            if self._peek_word().kind not in (lexer.VARIABLE, lexer.RIGHT, lexer.RIGHT_PAREN):
                raise self._error("range can only initialize variables")

    def _command(self) -> Command:
        position = self._peek_word().position
        arguments: list[Node] = []
        while True:
            self._peek_word()
            operand = self._operand()
            if operand is not None:
                arguments.append(operand)
            token = self._next()
            if token.kind == lexer.SPACE:
                continue
            if token.kind in (lexer.RIGHT, lexer.RIGHT_PAREN):
                self._index -= 1
            elif token.kind != lexer.PIPE:
                raise self._unexpected(token, "operand")
            break
        if not arguments:
            raise self._error("empty command")
        return Command(position, arguments)

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None or self._peek().kind != lexer.FIELD:
            return node
        position = self._peek().position
        names: list[str] = []
        while self._peek().kind == lexer.FIELD:
            names.append(self._next().text[1:])
        if isinstance(node, Field):
            return Field(position, (*node.names, *names))
        if isinstance(node, Variable):
            return Variable(position, node.name, (*node.names, *names))
        if isinstance(node, (Literal, Nil, Dot)):
            raise self._error(f"unexpected . after term {quoted(str(node))}")
        return Chain(position, node, names)

    def _term(self) -> Node | None:
        token = self._next_word()
        kind, position, text, _ = token
        match kind:
            case lexer.FIELD:
                return Field(position, (text[1:],))
            case lexer.IDENTIFIER:
                if text not in self._functions:
                    raise self._error(f"function {quoted(text)} not defined", self._suggest(text))
                return Identifier(position, text)
            case lexer.VARIABLE:
                if text not in self._variables:
                    raise self._error(f"undefined variable {quoted(text)}", self._nearest_variable(text))
                return Variable(position, text)
            case lexer.STRING | lexer.RAW_STRING:
                return Literal(position, text, self._unquoted(token))
            case lexer.DOT:
                return Dot(position)
            case lexer.NIL:
                return Nil(position)
            case lexer.BOOL:
                return Literal(position, text, text == "true")
            case lexer.NUMBER | lexer.CHARACTER | lexer.COMPLEX:
                if text.isdigit() and text.isascii() and len(text) < _DIGITS_OF_INT and (text[0] != "0" or text == "0"):
                    return Literal(position, text, int(text), int(text), float(text))
                from .numbers import number_literal

                try:
                    return number_literal(kind, text, position)
                except ValueError as error:
                    raise self._error(str(error)) from None
            case lexer.LEFT_PAREN:
                self._deeper()
                pipe = self._pipeline("parenthesized pipeline", lexer.RIGHT_PAREN)
                self._depth -= 1
                return pipe
        self._index -= 1
        return None

    def _nearest_variable(self, name: str) -> str:
        from conveyor.config.suggestions import did_you_mean

        return did_you_mean(name, self._variables)
