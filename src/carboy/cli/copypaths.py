"""Docker's rules for what `cp` copies where: decided from the two paths and what is there.

A trailing `/` or `/.` says that a path is a directory; `SRC/.` means what is in it, not itself.

    destination     source a file                    source a directory
    a directory     into it, under its own name      into it, under its own name (or what is in it)
    a file          in its place                     refused
    nothing         under that name; refused with /  under that name
"""

from __future__ import annotations

import os
import posixpath

from carboy.errors import InvalidArgument


class Side:
    """One end of a copy: a path, what is there, and the name that the copy asks for instead."""

    __slots__ = ("exists", "is_directory", "name", "path")

    def __init__(self, path: str, *, exists: bool, is_directory: bool, name: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_directory = is_directory
        self.name = name


def split_argument(argument: str) -> tuple[str, str]:
    """(container, path); the container is empty for a path of this machine."""
    container, colon, path = argument.partition(":")
    if argument.startswith("/") or not colon or container.startswith("."):
        return "", argument
    return container, path


def clean(path: str) -> str:
    """The shortest form of a path, by its text alone."""
    found = posixpath.normpath(path)
    return found[1:] if found.startswith("//") else found


def base(path: str) -> str:
    """The last name of a path; "/" of the root, "." of nothing."""
    stripped = path.rstrip("/")
    if not stripped:
        return "/" if path else "."
    return stripped.rpartition("/")[2]


def means_contents(path: str) -> bool:
    """Whether the path ends in `.`."""
    return base(path) == "."


def asserts_directory(path: str) -> bool:
    """Whether the path says that it is a directory."""
    return path.endswith("/") or means_contents(path)


def absolute(path: str) -> str:
    """A path of this machine from its root, with the end that it was given with."""
    return keep_ending(clean(posixpath.join(os.getcwd(), path)), path)


def keep_ending(cleaned: str, original: str) -> str:
    """`cleaned` with the `/` or `/.` that `original` ends in."""
    if means_contents(original) and not means_contents(cleaned):
        cleaned = cleaned.rstrip("/") + "/."
    if original.endswith("/") and not cleaned.endswith("/"):
        cleaned += "/"
    return cleaned


def split_entry(path: str) -> tuple[str, str]:
    """(directory, name); the name is `.` for what is in a directory."""
    cleaned = clean(path)
    if means_contents(path):
        return cleaned, "."
    return posixpath.dirname(cleaned) or ".", base(cleaned)


def asked_name(asked: str, resolved: str) -> tuple[str, str]:
    """The path that a link led to with the ending of the one asked for, and that one's name if it differs."""
    resolved = keep_ending(resolved, asked)
    return resolved, base(asked) if base(asked) != base(resolved) else ""


def local_source(path: str, *, follow: bool) -> Side:
    """A source on this machine; links before the last name are followed, with `follow` also that one."""
    try:
        return _local_source(path, follow=follow)
    except (FileNotFoundError, NotADirectoryError) as error:
        # The words that scripts know.
        raise InvalidArgument(f"lstat {path}: {(error.strerror or '').lower()}") from error


def _local_source(path: str, *, follow: bool) -> Side:
    if follow:
        resolved, name = asked_name(path, os.path.realpath(path, strict=True))
    else:
        head, _, tail = path.rpartition("/")
        folder = os.path.realpath(head + "/", strict=True)
        resolved = (folder.rstrip("/") + "/" + tail) if tail else folder.rstrip("/") + "/"
        name = base(path) if path.endswith("/") and base(path) != base(resolved) else ""
    status = os.lstat(resolved)
    return Side(resolved, exists=True, is_directory=status.st_mode & 0o170000 == 0o040000, name=name)


def local_destination(path: str) -> Side:
    """A destination on this machine, links followed; its directory must exist."""
    for _ in range(11):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            folder, _ = split_entry(path)
            if not os.path.isdir(folder):
                os.stat(folder)
                raise InvalidArgument("not a directory") from None
            return Side(path, exists=False, is_directory=False)
        if status.st_mode & 0o170000 != 0o120000:
            return Side(path, exists=True, is_directory=status.st_mode & 0o170000 == 0o040000)
        path = posixpath.join(split_entry(path)[0], os.readlink(path))
    raise InvalidArgument(f"too many symlinks in {path}")


def place(source: Side, destination: Side) -> tuple[str, str]:
    """(the directory to unpack into, the name to give to what is copied); raises InvalidArgument.

    An empty name keeps the source's.
    """
    if destination.exists and destination.is_directory:
        return destination.path, source.name
    if destination.exists and source.is_directory:
        raise InvalidArgument("cannot copy directory")
    if not destination.exists and not source.is_directory and asserts_directory(destination.path):
        raise InvalidArgument("no such directory")
    return split_entry(destination.path)


def renamer(before: str, after: str) -> tuple[bytes, bytes]:
    """The beginnings of members' names before and after; the root's members begin with a slash."""
    old = b"" if before == "/" else os.fsencode(before)
    return old, os.fsencode(after)
