"""A clean git work tree gives the build its time; everything else does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carboy.build.sources.worktree import WorkTree, WorkTreeMemory, clean_commit
from carboy.store.metadata import Database

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to make work trees with")

DATE = 1_700_000_000
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": f"{DATE} +0000",
    "GIT_COMMITTER_DATE": f"{DATE} +0100",
    **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Tree:
    """A work tree made with git."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str = "text\n") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", "message")
        return self.git("rev-parse", "HEAD")

    def state(self) -> WorkTree | None:
        return state_of(self.path)


def state_of(path: Path) -> WorkTree | None:
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return clean_commit(root)
    finally:
        os.close(root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "tree")
    for name in ("a", "d/x", "d/y/z", "d.txt", "d-", "d0", "ü", "run"):
        made.write(name)
    (made.path / "run").chmod(0o755)
    (made.path / "link").symlink_to("nowhere")
    made.commit()
    return made


def test_a_clean_tree_has_its_commits_time(tree: Tree) -> None:
    assert tree.state() == WorkTree(tree.git("rev-parse", "HEAD"), DATE)


def test_files_that_git_does_not_know_do_not_count(tree: Tree) -> None:
    tree.write("new")
    assert tree.state() is not None


@pytest.mark.parametrize(
    "change", ["content", "same size", "mode", "gone", "directory", "link", "added", "fifo"]
)
def test_a_change_makes_it_unclean(tree: Tree, change: str) -> None:
    path = tree.path / "a"
    if change == "content":
        path.write_text("other text\n")
    elif change == "same size":
        stamp = path.stat()
        path.write_text("TEXT\n")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif change == "mode":
        path.chmod(0o755)
    elif change == "gone":
        path.unlink()
    elif change == "directory":
        path.unlink()
        path.mkdir()
    elif change == "link":
        (tree.path / "link").unlink()
        (tree.path / "link").symlink_to("elsewhere")
    elif change == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        tree.write("b")
        tree.git("add", "b")
    assert tree.state() is None


@pytest.mark.parametrize("directory", ["d", "d/y"])
def test_a_directory_that_became_a_link_makes_it_unclean(tree: Tree, directory: str) -> None:
    path = tree.path / directory
    path.rename(tree.path / "real")
    path.symlink_to(tree.path / "real")
    assert tree.git("status", "--porcelain") != ""
    assert tree.state() is None


def test_touched_and_copied_trees_are_clean(tree: Tree, tmp_path: Path) -> None:
    for path in tree.path.glob("d/**/*"):
        os.utime(path, (1, 1))
    assert tree.state() is not None
    shutil.copytree(tree.path, tmp_path / "copy", symlinks=True)
    assert state_of(tmp_path / "copy") == tree.state()


def test_a_copied_tree_is_read_once(tree: Tree, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree.path, copy, symlinks=True)
    database = Database(str(tmp_path / "db"))
    later = WorkTreeMemory(database, lambda: time.time() + 60)
    root = os.open(copy, os.O_RDONLY | os.O_DIRECTORY)
    try:
        clean = clean_commit(root, WorkTreeMemory(database))
        assert clean is not None
        assert remembered(database) == 0  # it may still change without that being seen
        assert clean_commit(root, later) == clean
        assert remembered(database) == 1
        assert clean_commit(root, later) == clean
        stamp = (copy / "a").stat()
        (copy / "a").write_text("TEXT\n")
        os.utime(copy / "a", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert clean_commit(root, later) is None
    finally:
        os.close(root)
        database.close()


def remembered(database: Database) -> int:
    with database.read() as connection:
        count: int = connection.execute("SELECT count(*) FROM build_worktrees").fetchone()[0]
    return count


def test_a_change_in_the_moment_of_the_commit_is_seen(tree: Tree) -> None:
    """Racily clean: the file is as old as the index, so its time says nothing."""
    stamp = (tree.path / "a").stat()
    index = tree.path / ".git" / "index"
    (tree.path / "a").write_text("TEXT\n")
    os.utime(tree.path / "a", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    os.utime(index, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert tree.state() is None


@pytest.mark.parametrize("how", ["gc", "packed refs", "detached", "version 4", "delta"])
def test_wherever_git_keeps_it(tree: Tree, how: str) -> None:
    if how == "delta":
        for number in range(25):
            tree.write("a", f"{number}\n")
            tree.commit()
        tree.git("repack", "-adfq", "--depth=50")
    elif how == "gc":
        tree.git("gc", "-q")
    elif how == "packed refs":
        tree.git("pack-refs", "--all")
    elif how == "detached":
        tree.git("checkout", "-q", "--detach")
    else:
        tree.git("update-index", "--index-version", "4")
    assert tree.state() == WorkTree(tree.git("rev-parse", "HEAD"), DATE)


CUT = """
import os, sys
from carboy.build.sources import worktree

def cut(*arguments, **more):
    os.truncate(sys.argv[2], 0)
    return read_one(*arguments, **more)

read_one, worktree.gitpack.read_one = worktree.gitpack.read_one, cut
assert worktree.clean_commit(os.open(sys.argv[1], os.O_RDONLY)) is None
"""


def test_a_pack_that_is_cut_while_it_is_read_is_no_trap(tree: Tree) -> None:
    """In a process of its own: what is mapped and then cut off ends whoever looks at it."""
    tree.git("gc", "-q")
    [pack] = (tree.path / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CUT, str(tree.path), str(pack)], env=environment)
    assert done.returncode == 0
    assert pack.stat().st_size == 0


@pytest.mark.parametrize(
    "how", ["no commit", "no git", "conflict", "sparse", "submodule", "intent", "split", "file"]
)
def test_what_is_not_understood_is_not_clean(tree: Tree, how: str, tmp_path: Path) -> None:
    if how == "no commit":
        tree = Tree(tmp_path / "other")
    elif how == "no git":
        shutil.rmtree(tree.path / ".git")
    elif how == "conflict":
        tree.git("checkout", "-qb", "other")
        tree.write("a", "one\n")
        tree.commit()
        tree.git("checkout", "-q", "main")
        tree.write("a", "two\n")
        tree.commit()
        with pytest.raises(subprocess.CalledProcessError):
            tree.git("merge", "other")
    elif how == "sparse":
        tree.git("update-index", "--skip-worktree", "a")
    elif how == "submodule":
        tree.git("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},module")
        tree.git("commit", "-qm", "module")
    elif how == "intent":
        tree.write("b")
        tree.git("add", "-N", "b")
    elif how == "split":
        tree.git("update-index", "--split-index")
    else:
        shutil.move(tree.path / ".git", tmp_path / "elsewhere")
        (tree.path / ".git").write_text(f"gitdir: {tmp_path}/elsewhere\n")
    assert tree.state() is None


def test_a_hostile_repository_is_not_clean_and_no_trap(tree: Tree, tmp_path: Path) -> None:
    secret = Tree(tmp_path / "secret")
    secret.write("a")
    secret.commit()
    for name in ("HEAD", "index", "objects", "packed-refs"):
        path = tree.path / ".git" / name
        kept = tmp_path / "kept"
        if path.exists():
            shutil.move(path, kept)
        os.mkfifo(path)
        begun = time.monotonic()
        if name != "packed-refs":
            assert tree.state() is None, name
        assert time.monotonic() - begun < 5
        path.unlink()
        path.symlink_to(secret.path / ".git" / name)
        if name != "packed-refs":
            assert tree.state() is None, name
        path.unlink()
        if kept.exists():
            shutil.move(kept, path)
    (tree.path / ".git" / "HEAD").write_text("ref: refs/../../../secret/.git/refs/heads/main\n")
    assert tree.state() is None
    shutil.rmtree(tree.path / ".git")
    (tree.path / ".git").symlink_to(secret.path / ".git")
    assert tree.state() is None


def test_damaged_indexes_are_not_clean(tree: Tree) -> None:
    index = tree.path / ".git" / "index"
    whole = index.read_bytes()
    for number in range(0, len(whole), 7):
        index.write_bytes(whole[:number])
        assert tree.state() is None
    for number in range(4, len(whole) - 20, 11):
        index.write_bytes(whole[:number] + bytes([whole[number] ^ 0x55]) + whole[number + 1 :])
        tree.state()
