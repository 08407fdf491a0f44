"""COPY and ADD: where their sources come from, each in its order."""

from __future__ import annotations

import re

from carboy.build.frontend import naming
from carboy.build.frontend.addresses import (
    Repository,
    file_name,
    is_http,
    read_repository,
    redacted,
)
from carboy.build.frontend.draft import Draft
from carboy.build.frontend.stagestate import StageState, add_context
from carboy.build.frontend.vertices import Place, input_number
from carboy.build.graph import Files, FileSource, Git, Http
from carboy.digest import Digest
from carboy.errors import InvalidArgument
from carboy.formats.dockerfile import instructions as made
from carboy.formats.dockerfile.source import DockerfileError
from carboy.formats.dockerfile.stages import Origin

_WILDCARDS = re.compile(r"[*?\[\\]")
_ALONE = {"*": "[*]", "?": "[?]", "[": "[[]", "\\": "[\\\\]"}
"""Each as a class that holds nothing else."""
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def draw_copy(draft: Draft, state: StageState, instruction: made.Copy, origin: Origin | None) -> None:
    """Add a COPY; `origin` is its `--from`."""
    inputs = [state.filesystem(draft.vertices)]
    for source in instruction.sources:
        what = "a URL" if is_http(source) else "a git ref" if _is_repository(source) else ""
        if what:
            raise DockerfileError(
                f"source can't be {what} for COPY",
                instruction.node.whole_span,
                mend="ADD fetches what is not a file of the context",
            )
    sources = list(_inline(instruction.inline))
    if instruction.sources:
        if origin is None:
            vertex = add_context(draft.vertices, "")
        else:
            vertex = draft.source(origin, instruction.node, state, verb="copy")
        sources.insert(0, FileSource(input=input_number(inputs, vertex), patterns=instruction.sources))
    operation = Files(
        sources=tuple(sources),
        destination=_destination(instruction.destination),
        cwd=_cwd(state, instruction.destination),
        chown=instruction.chown,
        chmod=instruction.chmod,
        link=instruction.link,
        parents=instruction.parents,
        exclude=instruction.exclude,
    )
    _finish(draft, state, instruction, operation, inputs)


def draw_add(draft: Draft, state: StageState, instruction: made.Add) -> None:
    """Add an ADD."""
    inputs = [state.filesystem(draft.vertices)]
    try:
        _check_checksum(instruction)
        sources = _sources(draft, state, instruction, inputs)
    except InvalidArgument as error:
        if isinstance(error, DockerfileError):
            raise
        raise DockerfileError(str(error), instruction.node.whole_span) from error
    operation = Files(
        sources=(*sources, *_inline(instruction.inline)),
        destination=_destination(instruction.destination),
        cwd=_cwd(state, instruction.destination),
        chown=instruction.chown,
        chmod=instruction.chmod,
        link=instruction.link,
        exclude=instruction.exclude,
        is_add=True,
    )
    _finish(draft, state, instruction, operation, inputs)


def _finish(
    draft: Draft,
    state: StageState,
    instruction: made.Copy | made.Add,
    operation: Files,
    inputs: list[int],
) -> None:
    node = instruction.node
    name = draft.prefix(state) + draft.names.of_other(node, state.scope.variables)
    place = state.place(node, name, instruction=redacted(node.source))
    vertex = draft.vertices.add(operation, tuple(inputs), place)
    state.grown(vertex, _history(instruction))


def _history(instruction: made.Copy | made.Add) -> str:
    words = [instruction.node.name]
    if isinstance(instruction, made.Copy) and instruction.parents:
        words.append("--parents")
    words += [f"--chown={instruction.chown}"] * bool(instruction.chown)
    words += [f"--chmod={instruction.chmod}"] * bool(instruction.chmod)
    words += [redacted(source) for source in instruction.sources]
    words += [f"<<{file.name}" for file in instruction.inline]
    return " ".join([*words, instruction.destination]) + naming.MARK


def _cwd(state: StageState, destination: str) -> str:
    """What the destination is relative to: what does not matter does not tell two steps apart."""
    return "/" if destination.startswith("/") else state.cwd


def _destination(text: str) -> str:
    return "./" if text in ("", ".") else text


def _inline(files: tuple[made.InlineFile, ...]) -> list[FileSource]:
    return [FileSource(name=file.name, data=file.data) for file in files]


def _is_repository(source: str) -> bool:
    try:
        return read_repository(source) is not None
    except InvalidArgument:
        return True


def _check_checksum(instruction: made.Add) -> None:
    if not instruction.checksum:
        return
    if len(instruction.sources) != 1 or instruction.inline:
        raise InvalidArgument("checksum can't be specified for multiple sources")
    source = instruction.sources[0]
    if _is_repository(source):
        return
    if not is_http(source):
        raise InvalidArgument("checksum requires HTTP(S) or Git sources")
    try:
        Digest.parse(instruction.checksum)
    except InvalidArgument as error:
        raise InvalidArgument(f"checksum {instruction.checksum[:100]!r}: {error}") from error


def _sources(draft: Draft, state: StageState, instruction: made.Add, inputs: list[int]) -> list[FileSource]:
    """One for each stretch of local sources, one for each that is fetched."""
    results: list[FileSource] = []
    for source in instruction.sources:
        repository = read_repository(source)
        if repository is not None:
            vertex = _add_git(draft, state, instruction, repository)
            results.append(FileSource(input=input_number(inputs, vertex), patterns=(".",)))
        elif is_http(source):
            vertex, name = _add_http(draft, state, instruction, source)
            # No backslashes: as with BuildKit, they have a meaning only beside true wildcards.
            pattern = _WILDCARDS.sub(lambda found: _ALONE[found[0]], name)
            number = input_number(inputs, vertex)
            results.append(FileSource(input=number, patterns=(pattern,), unpack=bool(instruction.unpack)))
        else:
            number = input_number(inputs, add_context(draft.vertices, ""))
            unpack = instruction.unpack is not False
            if results and (results[-1].input, results[-1].unpack) == (number, unpack):
                previous = results.pop()
                patterns = (*previous.patterns, source)
            else:
                patterns = (source,)
            results.append(FileSource(input=number, patterns=patterns, unpack=unpack))
    return results


def _add_http(draft: Draft, state: StageState, instruction: made.Add, url: str) -> tuple[int, str]:
    name = file_name(url)
    operation = Http(url=url, filename=name, checksum=instruction.checksum)
    return draft.vertices.add(operation, (), _fetched(state, instruction, url)), name


def _add_git(draft: Draft, state: StageState, instruction: made.Add, repository: Repository) -> int:
    keep, said = instruction.keep_git_dir, repository.keep_git_dir
    if keep is not None and said is not None and keep is not said:
        raise InvalidArgument("inconsistent keep-git-dir configuration")
    checksum = instruction.checksum or repository.checksum
    if repository.checksum and checksum != repository.checksum:
        raise InvalidArgument(f'checksum mismatch "{checksum}" != "{repository.checksum}"')
    if checksum and not _COMMIT.fullmatch(checksum):
        raise InvalidArgument(f"the checksum of a git source is a commit, not {checksum[:100]!r}")
    operation = Git(
        url=repository.url,
        ref=repository.ref,
        subdir=repository.subdir,
        keep_git_dir=bool(keep or said),
        checksum=checksum,
        submodules=repository.submodules,
    )
    return draft.vertices.add(operation, (), _fetched(state, instruction, repository.url))


def _fetched(state: StageState, instruction: made.Add, url: str) -> Place:
    node = instruction.node
    return Place(
        name=f"[{state.label}] fetch {redacted(url)}",
        stage=state.label,
        line=state.trigger_line or node.line,
        instruction=redacted(node.source),
    )
