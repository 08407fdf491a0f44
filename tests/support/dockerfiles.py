"""Dockerfiles as plain values, for golden tests: nodes, instructions and stages without repetition."""

from __future__ import annotations

from typing import Any

import msgspec

from carboy.formats.dockerfile.instructions import AnyInstruction, Instruction
from carboy.formats.dockerfile.nodes import Node, Word
from carboy.formats.dockerfile.scope import Scope
from carboy.formats.dockerfile.source import Span
from carboy.formats.dockerfile.stages import Document, Plan, Platforms, plan, read_document


class CaseOptions(msgspec.Struct, forbid_unknown_fields=True):
    """args.json of a case: what a build is told beside the Dockerfile."""

    arguments: dict[str, str] = {}
    targets: list[str] = []
    contexts: list[str] = []
    platforms: Platforms = Platforms()
    environment: list[str] = []
    """Of every base image."""


def described(text: bytes, options: CaseOptions) -> dict[str, Any]:
    """All three stages of the language; raises DockerfileError."""
    document = read_document(text)
    made = plan(
        document,
        arguments=options.arguments,
        platforms=options.platforms,
        targets=options.targets,
        contexts=options.contexts,
    )
    result = {
        "directives": {each.name: each.value for each in document.file.directives},
        "warnings": [f"{place(each.spans)} {each.rule}" for each in document.file.warnings],
        "nodes": [_node(node) for node in document.file.nodes],
        "plan": _plan(made),
        "stages": _stages(document, made, options),
    }
    return {key: value for key, value in result.items() if value}


def place(spans: tuple[Span, ...]) -> str:
    """`3:4-9 4:0-2`."""
    return " ".join(f"{span.line}:{span.start}-{span.end}" for span in spans)


def _words(node: Node, words: tuple[Word, ...]) -> list[str]:
    return [f"{place(node.span_of(word))} {word.value}" for word in words]


def _node(node: Node) -> dict[str, Any]:
    result = {
        "keyword": f"{place(node.keyword_span)} {node.keyword}",
        "flags": _words(node, node.flags),
        "arguments": _words(node, node.arguments),
        "form": "exec" if node.is_json else "legacy" if node.is_legacy else "",
        "heredocs": [msgspec.to_builtins(each) for each in node.heredocs] if not node.child else [],
        "comments": [each.text for each in node.comments],
        "child": _node(node.child) if node.child else None,
    }
    return {key: value for key, value in result.items() if value}


def _plain(instruction: AnyInstruction) -> dict[str, Any]:
    """Its fields that are not as by default; heredocs by name, as the nodes have them whole."""
    values: dict[str, Any] = {}
    defaults = zip(
        reversed(instruction.__struct_fields__), reversed(instruction.__struct_defaults__), strict=False
    )
    usual = dict(defaults)
    for field in instruction.__struct_fields__:
        value = getattr(instruction, field)
        if field == "node" or (field in usual and usual[field] == value):
            continue
        if isinstance(value, Instruction):
            value = {type(value).__name__: _plain(value)}  # type: ignore[arg-type]  # a trigger is one of them
        values[field] = msgspec.to_builtins(value)
    command = values.get("command")
    if command and "heredocs" in command:
        command["heredocs"] = [each["name"] for each in command["heredocs"]]
    return values


def _plan(made: Plan) -> dict[str, Any]:
    stages = []
    for stage in made.stages:
        needs = [
            f"{stage.instructions[need.instruction].node.name} {need.origin.kind} {need.origin.name}"
            + (f" ({need.origin.stage})" if need.origin.kind == "stage" else "")
            for need in stage.needs
        ]
        described = {
            "label": stage.label,
            "base": f"{stage.base.kind} {stage.base.name}",
            "platform": stage.platform,
            "needs": needs,
            "used": list(stage.used),
            "triggered": stage.triggered,
        }
        stages.append({key: value for key, value in described.items() if value})
    result = {
        "targets": list(made.targets),
        "reachable": list(made.reachable),
        "unreachable": [stage.index for stage in made.stages if stage.index not in made.reachable],
        "unconsumed": list(made.unconsumed),
        "stages": stages,
    }
    return {key: value for key, value in result.items() if value}


def _stages(document: Document, made: Plan, options: CaseOptions) -> dict[str, Any]:
    """The expanded instructions of the stages that are needed."""
    scopes: dict[int, Scope] = {}
    result = {}
    for index in made.reachable:
        stage = made.stages[index]
        if stage.base.kind == "stage":
            scope = scopes[stage.base.stage].child()
        else:
            scope = Scope(
                environment=options.environment if stage.base.kind == "image" else (),
                given=options.arguments,
                global_arguments=dict(made.global_arguments),
                escape=document.file.escape,
            )
        scopes[index] = scope
        shown = []
        for instruction in stage.instructions:
            expanded = scope.apply(instruction)
            each: dict[str, Any] = {type(instruction).__name__: _plain(expanded.instruction)}
            if expanded.used:
                each["used"] = sorted(expanded.used)
            if expanded.unset:
                each["unset"] = sorted(expanded.unset)
            shown.append(each)
        result[stage.label] = shown
    return result
