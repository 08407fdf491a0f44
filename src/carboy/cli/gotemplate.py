"""Go's text/template, as much of it as `--format` users write.

    text {{.Field.Sub}} {{json .}} {{.A | upper}} {{index .M "k"}} {{printf "%s" .X}}
    {{if p}}..{{else if q}}..{{else}}..{{end}}  {{range $i, $e := .L}}..{{else}}..{{end}}
    {{with .X}}..{{end}}  {{$v := .X}}  {{- trims -}}  {{/* comment */}}  {{break}} {{continue}}
    {{define "n"}}..{{end}}  {{template "n" .X}}  {{block "n" .X}}..{{end}}

Source ─▶ tokens ─▶ tree (nested tuples) ─▶ text.  Values are those of JSON.  No `re`: the
command line's budget has no room for its import.
"""

from __future__ import annotations

from carboy.cli.gofunctions import FUNCTIONS, HEADER_FUNCTIONS, Nil, call, show, truth
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Token = tuple[str, str]
    Node = tuple[Any, ...]
    Value = Any

MAX_DEPTH = 50


class TemplateError(InvalidArgument):
    """The template cannot be parsed, or does not fit the data."""

    def __init__(self, message: str) -> None:
        super().__init__(f"template parsing error: {message}")
        self.reason = message
        self.exit_code = 1


class _Leave(Exception):
    """A loop's `break` or `continue`."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _NoField(Exception):
    """A value has no such field."""


class Fields(dict[str, "Value"]):
    """A mapping with methods, which templates call with arguments: {{.Label "name"}}.

    `zero` holds what fields are that the document may leave out.  With `other` every field exists: what
    it answers for those that do not.
    """

    def __init__(
        self,
        fields: dict[str, Any],
        methods: dict[str, Callable[[str], str]],
        other: Callable[[str], str] | None = None,
        *,
        zero: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(fields)
        self.zero = zero or {}
        self.methods = methods
        self.other = other


class Template:
    """A parsed template; `render` applies it to one value."""

    def __init__(self, source: str) -> None:
        self._source = source
        try:
            parser = _Parser(_split(source))
            self._tree, ending = parser.block(0)
            if ending:
                raise TemplateError(f"unexpected {{{{{ending}}}}}")
        except TemplateError as error:
            raise TemplateError("template: :1: " + error.reason) from error
        self._defined = parser.defined

    def render(self, value: Value, *, header: bool = False) -> str:
        """The text for a value; a `header` keeps its words whatever functions are applied to them."""
        run = _Run(value, self._source, self._defined, HEADER_FUNCTIONS if header else FUNCTIONS)
        try:
            run.nodes(self._tree, value)
        except _Leave as leave:
            raise TemplateError(f"template: :1: {{{{{leave.word}}}}} outside {{{{range}}}}") from leave
        return "".join(run.out)


def _split(source: str) -> list[Token]:
    """Text and actions, trim markers applied and comments gone."""
    parts: list[Token] = []
    position, trim = 0, False
    while True:
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim:
            text = text.lstrip()
        if start < 0:
            parts.append(("text", text))
            return parts
        end = _action_end(source, start + 2)
        action = source[start + 2 : end]
        if action[:2] in ("- ", "-\n", "-\t"):
            text, action = text.rstrip(), action[1:]
        trim = action[-2:] in (" -", "\n-", "\t-")
        if trim:
            action = action[:-1]
        parts.append(("text", text))
        action = action.strip()
        if not action.startswith("/*"):
            parts.append(("action", action))
        position = end + 2


def _action_end(source: str, position: int) -> int:
    quote = ""
    while position < len(source):
        character = source[position]
        if quote:
            if character == "\\" and quote == '"':
                position += 1
            elif character == quote:
                quote = ""
        elif character in '"`':
            quote = character
        elif source.startswith("}}", position):
            return position
        position += 1
    raise TemplateError("unclosed action: }} is missing")


def _tokens(action: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(action):
        character = action[position]
        start = position
        if character.isspace():
            position += 1
            tokens.append(("space", " "))
        elif character in '"`':
            position = _string_end(action, position)
            tokens.append(("string", _unquote(action[start:position])))
        elif character in "()|,":
            position += 1
            tokens.append((character, character))
        elif action.startswith(":=", position) or (character == "=" and tokens):
            position += 2 if character == ":" else 1
            tokens.append((":=", ":="))
        elif character == "." or character == "$" or character.isalnum() or character in "_-+":
            position += 1
            while position < len(action) and (action[position].isalnum() or action[position] in "_"):
                position += 1
            tokens.append(_word(action[start:position], action[position : position + 1]))
            if tokens[-1][0] == "number" and action[position : position + 1] == ".":
                position += 1
                while action[position : position + 1].isdigit():
                    position += 1
                tokens[-1] = ("number", action[start:position])
        else:
            raise TemplateError(f"unexpected {character!r} in {{{{{action}}}}}")
    return tokens


def _word(word: str, _following: str) -> Token:
    if word[0] == ".":
        return ("field", word[1:])
    if word[0] == "$":
        return ("variable", word)
    if word[0].isdigit() or (word[0] in "-+" and len(word) > 1):
        return ("number", word)
    return ("name", word)


def _string_end(action: str, position: int) -> int:
    quote = action[position]
    position += 1
    while position < len(action):
        if action[position] == "\\" and quote == '"':
            position += 1
        elif action[position] == quote:
            return position + 1
        position += 1
    raise TemplateError("unterminated string")


def _unquote(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    from carboy.client.document import decode
    from carboy.errors import CarboyError

    try:
        return str(decode(text))
    except CarboyError as error:
        raise TemplateError(f"bad string {text}") from error


class _Parser:
    """Actions to a tree: ("text", s), ("print", pipe), ("if", pipe, then, else), ("range", ...)."""

    def __init__(self, parts: list[Token]) -> None:
        self.parts = parts[::-1]
        self.defined: dict[str, list[Node]] = {}

    def block(self, depth: int) -> tuple[list[Node], str]:
        """Nodes up to end or else; the word that ended the block, "" at the end of the template."""
        if depth > MAX_DEPTH:
            raise TemplateError("nested too deeply")
        nodes: list[Node] = []
        while self.parts:
            kind, text = self.parts.pop()
            if kind == "text":
                nodes.append(("text", text))
                continue
            word = text.split(" ", 1)[0]
            if word in ("end", "else"):
                return nodes, text
            if word in ("if", "range", "with"):
                nodes.append(self.control(word, text[len(word) :], depth))
            elif word in ("define", "block", "template"):
                nodes += self.named(word, text[len(word) :].strip(), depth)
            elif text in ("break", "continue"):
                nodes.append((text,))
            else:
                nodes.append(("print", *_pipeline(text)))
        return nodes, ""

    def named(self, word: str, text: str, depth: int) -> list[Node]:
        """`define` and `block` keep their body under a name; `block` and `template` use it."""
        end = _string_end(text, 0) if text[:1] in ('"', "`") else 0
        if not end:
            raise TemplateError(f"unexpected {text!r} in {word} clause")
        name, argument = _unquote(text[:end]), text[end:].strip()
        if word != "template":
            body, ending = self.block(depth + 1)
            if ending != "end":
                raise TemplateError(f"{{{{{word}}}}} has no {{{{end}}}}")
            self.defined.setdefault(name, body)
        pipe: Node = _pipeline(argument)[1] if argument else ("constant", None)
        return [] if word == "define" else [("template", name, pipe)]

    def control(self, word: str, condition: str, depth: int) -> Node:
        if not condition.strip():
            raise TemplateError(f"missing value for {word}")
        names, pipe = _pipeline(condition)
        body, ending = self.block(depth + 1)
        otherwise: list[Node] = []
        if ending[:4] == "else":
            rest = ending[4:].strip()
            following = rest.split(" ", 1)[0]
            if following in ("if", "with"):
                otherwise = [self.control(following, rest[len(following) :], depth + 1)]
                return (word, names, pipe, body, otherwise)
            otherwise, ending = self.block(depth + 1)
        if ending != "end":
            raise TemplateError(f"{{{{{word}}}}} has no {{{{end}}}}")
        return (word, names, pipe, body, otherwise)


def _pipeline(text: str) -> tuple[list[str], Node]:
    """(variables that it declares, the pipeline)."""
    tokens = _tokens(text.strip())
    names: list[str] = []
    if (":=", ":=") in tokens:
        at = tokens.index((":=", ":="))
        names = [value for kind, value in tokens[:at] if kind == "variable"]
        tokens = tokens[at + 1 :]
    reader = _Reader(tokens)
    pipe = reader.pipe(0)
    if reader.tokens:
        raise TemplateError(f"unexpected {reader.tokens[-1][1]!r} in {{{{{text}}}}}")
    return names, pipe


class _Reader:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens[::-1]

    def _skip(self) -> str:
        while self.tokens and self.tokens[-1][0] == "space":
            self.tokens.pop()
        return self.tokens[-1][0] if self.tokens else ""

    def pipe(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise TemplateError("nested too deeply")
        commands = [self.command(depth)]
        while self._skip() == "|":
            self.tokens.pop()
            commands.append(self.command(depth))
        return ("pipe", commands)

    def command(self, depth: int) -> Node:
        terms: list[Node] = []
        while self._skip() not in ("", "|", ")", ","):
            terms.append(self.term(depth))
        if not terms:
            raise TemplateError("missing value")
        return ("command", terms)

    def term(self, depth: int) -> Node:
        kind, text = self.tokens.pop()
        node: Node
        if kind == "(":
            node = self.pipe(depth + 1)
            if self._skip() != ")":
                raise TemplateError("unclosed parenthesis")
            self.tokens.pop()
        elif kind == "field":
            node = ("dot",) if not text else ("get", ("dot",), text)
        elif kind == "variable":
            node = ("variable", text)
        elif kind in ("string", "number"):
            node = ("constant", text if kind == "string" else _number(text))
        elif kind == "name" and text in ("true", "false", "nil"):
            node = ("constant", {"true": True, "false": False, "nil": None}[text])
        elif kind == "name" and text in FUNCTIONS:
            return ("function", text)
        else:
            raise TemplateError(
                f'function "{text}" not defined' if kind == "name" else f"unexpected {text!r}"
            )
        while self.tokens and self.tokens[-1][0] == "field" and self.tokens[-1][1]:
            node = ("get", node, self.tokens.pop()[1])
        return node


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        try:
            return float(text)
        except ValueError as error:
            raise TemplateError(f"bad number {text!r}") from error


class _Run:
    """One rendering: the output and the variables."""

    def __init__(
        self,
        root: Value,
        source: str,
        defined: dict[str, list[Node]],
        functions: dict[str, Callable[..., Value]],
    ) -> None:
        self.source = source
        self.defined = defined
        self.functions = functions
        self.out: list[str] = []
        self.depth = 0
        self.variables: dict[str, Value] = {"$": root}

    def nodes(self, nodes: list[Node], dot: Value) -> None:
        for node in nodes:
            if node[0] == "text":
                self.out.append(node[1])
            elif node[0] == "print":
                value = self.value(node[2], dot)
                if node[1]:
                    self.variables[node[1][0]] = value
                else:
                    self.out.append(show(value))
            elif node[0] == "template":
                self.template(node[1], self.value(node[2], dot))
            elif node[0] in ("break", "continue"):
                raise _Leave(node[0])
            else:
                self.control(node, dot)

    def template(self, name: str, dot: Value) -> None:
        if name not in self.defined:
            raise TemplateError(f'template "{name}" not defined')
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TemplateError("templates use each other too deeply")
        outer, self.variables = self.variables, {"$": dot}
        self.nodes(self.defined[name], dot)
        self.variables = outer
        self.depth -= 1

    def control(self, node: Node, dot: Value) -> None:
        word, names, pipe, body, otherwise = node
        value = self.value(pipe, dot)
        if word == "range":
            self.range(names, value, body, otherwise, dot)
            return
        if names:
            self.variables[names[0]] = value
        if truth(value):
            self.nodes(body, value if word == "with" else dot)
        else:
            self.nodes(otherwise, dot)

    def range(
        self, names: list[str], value: Value, body: list[Node], otherwise: list[Node], dot: Value
    ) -> None:
        items: list[tuple[Value, Value]]
        if isinstance(value, dict):
            items = sorted(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif value is None:
            items = []
        else:
            raise TemplateError(f"range can't iterate over {show(value)}")
        for key, item in items:
            if names:
                self.variables[names[-1]] = item
            if len(names) == 2:
                self.variables[names[0]] = key
            try:
                self.nodes(body, item)
            except _Leave as leave:
                if leave.word == "break":
                    break
        if not items:
            self.nodes(otherwise, dot)

    def value(self, node: Node, dot: Value) -> Value:
        kind = node[0]
        if kind == "pipe":
            result = self.command(node[1][0], dot, ())
            for command in node[1][1:]:
                result = self.command(command, dot, (result,))
            return result
        if kind == "dot":
            return dot
        if kind == "get":
            try:
                return _field(self.value(node[1], dot), node[2])
            except _NoField as error:
                raise TemplateError(self.place(node) + str(error)) from error
        if kind == "variable":
            if node[1] not in self.variables:
                raise TemplateError(f"undefined variable {node[1]}")
            return self.variables[node[1]]
        if kind == "function":
            return self.command(("command", [node]), dot, ())
        return node[1]

    def place(self, node: Node) -> str:
        """Where a field stands in the template, as Go tells it."""
        names: list[str] = []
        while node[0] == "get":
            names.insert(0, node[2])
            node = node[1]
        path = "".join("." + name for name in names)
        before = self.source[: max(self.source.find(path), 0) + (len(names[0]) + 1 if names[1:] else 0)]
        column = len(before) - (before.rfind("\n") + 1)
        return f'template: :{before.count(chr(10)) + 1}:{column}: executing "" at <{path}>: '

    def command(self, node: Node, dot: Value, piped: tuple[Value, ...]) -> Value:
        terms = node[1]
        if terms[0][0] != "function":
            if terms[0][0] == "get":
                target = self.value(terms[0][1], dot)
                method = target.methods.get(terms[0][2]) if isinstance(target, Fields) else None
                if method is not None:
                    arguments = [*(self.value(term, dot) for term in terms[1:]), *piped]
                    try:
                        return call(terms[0][2], method, arguments)
                    except TypeError as error:
                        raise TemplateError(self.place(terms[0]) + str(error)) from error
            if len(terms) > 1 or piped:
                raise TemplateError("can't give argument to non-function")
            return self.value(terms[0], dot)
        arguments = [*(self.value(term, dot) for term in terms[1:]), *piped]
        try:
            return self.functions[terms[0][1]](*arguments)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise TemplateError(f"error calling {terms[0][1]}: {error}") from error


def _field(value: Value, name: str) -> Value:
    if isinstance(value, dict):
        if isinstance(value, Fields) and name in value.zero and value.get(name) is None:
            return value.zero[name]
        if name in value:
            return value[name]
        if isinstance(value, Fields) and value.other is not None:
            return value.other(name)
        # Templates name Go fields, whose case differs from JSON keys: ID and Id, APIVersion and ApiVersion.
        for key in value:
            if key.lower() == name.lower():
                return value[key]
        raise _NoField(f'map has no entry for key "{name}"')
    if value is None or isinstance(value, Nil):
        raise _NoField(f"nil pointer evaluating .{name}")
    raise _NoField(f"can't evaluate field {name} in {show(value)[:60]}")
