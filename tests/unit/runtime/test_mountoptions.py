"""Mount options: words to attributes, propagation and data."""

from __future__ import annotations

import pytest

from carboy.errors import InvalidArgument
from carboy.linux import mount as m
from carboy.runtime import mountoptions


def test_words_become_attributes_and_data() -> None:
    read = mountoptions.parse(["rbind", "ro", "nosuid", "mode=755", "newinstance", "rslave", "defaults"])
    assert (read.bind, read.recursive) == (True, True)
    assert read.attr_set == m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID
    assert read.data == [("mode", "755"), ("newinstance", None)]
    assert read.propagation == [(m.MS_SLAVE, True)]


def test_the_later_word_wins() -> None:
    read = mountoptions.parse(["ro", "rw", "suid", "nosuid"])
    assert (read.attr_set, read.attr_clr) == (m.MOUNT_ATTR_NOSUID, m.MOUNT_ATTR_RDONLY)


def test_times_are_one_field() -> None:
    read = mountoptions.parse(["noatime", "strictatime"])
    assert (read.attr_set & m.MOUNT_ATTR_ATIME, read.attr_clr) == (
        m.MOUNT_ATTR_STRICTATIME,
        m.MOUNT_ATTR_ATIME,
    )


@pytest.mark.parametrize("word", sorted(mountoptions.SET_CLEAR))
def test_every_word_has_a_recursive_form(word: str) -> None:
    if f"r{word}" in mountoptions.SET_CLEAR:
        pytest.skip(f"r{word} is a word of its own")
    read = mountoptions.parse([f"r{word}"])
    assert (read.recursive_set, read.recursive_clr) == mountoptions.SET_CLEAR[word]
    assert (read.attr_set, read.attr_clr) == (0, 0)


def test_extensions() -> None:
    assert mountoptions.parse(["tmpcopyup"]).copy_up
    assert mountoptions.parse(["idmap"]).idmap == "idmap"
    assert mountoptions.parse(["ridmap"]).idmap == "ridmap"
    assert mountoptions.parse(["size=1k", ""]).data == [("size", "1k")]


def test_propagation_of_the_root() -> None:
    assert mountoptions.root_propagation("") == (m.MS_SLAVE, True)
    assert mountoptions.root_propagation("private") == (m.MS_PRIVATE, False)
    with pytest.raises(InvalidArgument, match="rootfsPropagation"):
        mountoptions.root_propagation("sideways")
