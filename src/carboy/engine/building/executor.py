"""RUN: a program in a container of its own above some layers; fulfils `build.executor.Executor`.

    prepare ─▶ mounts, mount points ─▶ config.json ─▶ spawn ─▶ network ─▶ start
        ─▶ output to the console, until the program has ended, or is killed because the build is
        ─▶ its changes as a layer ─▶ everything is removed

The containers of steps are in no index and in no database: their directories are called `build…`,
and `sweep` removes what a daemon that was killed has left.  Their programs die with the daemon (`tied`).
One thread does all of a step: it waits for its monitor, its output and a cancellation at once.
"""

from __future__ import annotations

import logging
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from carboy.build.caching.mounts import CacheMounts
from carboy.build.executor import Executed, Job
from carboy.build.progress import Console
from carboy.build.residues import residue_of
from carboy.engine.building import bundles, trust
from carboy.engine.building.mounts import StepMounts, add_targets, entries_of
from carboy.engine.building.output import LIMIT, Output
from carboy.engine.building.running import Running
from carboy.engine.building.scaffolding import Scaffold, refuse_targets
from carboy.engine.containers.outcomes import system_errors
from carboy.engine.containers.parts import Parts
from carboy.errors import Cancelled, CarboyError
from carboy.linux import tree
from carboy.store.paths import STEP_PREFIX

_log = logging.getLogger(__name__)


class StepExecutor:
    """Runs programs of builds."""

    def __init__(self, parts: Parts, caches: CacheMounts, *, output_limit: int = LIMIT) -> None:
        """output_limit: bytes of one step's output that are told; 0 for all."""
        self._parts = parts
        self._caches = caches
        self._output_limit = output_limit
        self._remover = ThreadPoolExecutor(1, thread_name_prefix="build-clean")

    def close(self) -> None:
        """Wait for what is being removed; steps that run are cancelled by their builds."""
        self._remover.shutdown(wait=True)

    def sweep(self) -> None:
        """Remove what the steps of an earlier daemon left.  Call it at start, before any build."""
        paths = self._parts.paths
        for parent in (paths.containers_run, paths.containers):
            for name in os.listdir(parent):
                if not name.startswith(STEP_PREFIX):
                    continue
                try:
                    self._parts.spawner.sweep(paths.container_run(name))
                    self._remove(name)
                except (CarboyError, OSError):
                    _log.exception("removal of build step %s", name)

    def execute(self, job: Job, console: Console) -> Executed:
        """See the module and `Executor.execute`."""
        console.cancellation.check()
        step_id = f"{STEP_PREFIX}{secrets.token_hex(16)}"
        with system_errors("cannot run a step"), ExitStack() as stack:
            stack.push(partial(self._remove_after, step_id))
            lent = self._run(step_id, job, console)
            console.cancellation.check()
            changes = self._parts.snapshots.write_step(
                step_id,
                job.layers,
                epoch=job.epoch,
                lent=lent,
                residue=_is_residue if job.reproducible else None,
                interruptible=lambda abort: console.cancellation.subscribe(
                    lambda: abort(Cancelled(console.cancellation.reason))
                ),
            )
        removed = tuple("/" + os.fsdecode(path) for path in changes.removed)
        if changes.layer is None:
            return Executed(None, 0, removed)
        return Executed(changes.layer.diff_id, changes.layer.size, removed)

    def _run(self, step_id: str, job: Job, console: Console) -> frozenset[bytes]:
        """The program, to its end; gives the files that were lent to it."""
        parts = self._parts
        with ExitStack() as stack:
            refuse_targets([mount.target for mount in job.mounts if mount.target])
            parts.snapshots.prepare(step_id, job.layers)
            os.mkdir(parts.paths.container_run(step_id), 0o700)
            mounts = StepMounts(parts.paths, parts.snapshots, self._caches, stack)
            ready = mounts.open(step_id, job, console.cancellation)
            scaffold = Scaffold()
            scaffold.add(job.cwd, is_directory=True)
            add_targets(scaffold, ready)
            host_bundle = trust.read_host_bundle() if job.host_ca else b""
            lent = self._build_scaffold(step_id, job, scaffold, host_bundle)
            rootfs = parts.snapshots.mount(step_id, job.layers, volatile=True)
            try:
                entries, descriptors = entries_of(ready)
                bundle = bundles.StepBundle(
                    parts, step_id, job, variables=mounts.variables, host_bundle=host_bundle
                )
                launch = bundle.write(rootfs, entries)
                channel = parts.spawner.spawn(
                    container_id=step_id,
                    bundle=parts.paths.container(step_id),
                    run_directory=parts.paths.container_run(step_id),
                    launch=launch,
                    rootfs=rootfs,
                    mounts=descriptors,
                )
            finally:
                os.close(rootfs)
            running = Running(parts, step_id, job, channel)
            stack.callback(running.close)
            running.follow(Output(console, limit=self._output_limit), console.cancellation)
            return lent

    def _build_scaffold(
        self, step_id: str, job: Job, scaffold: Scaffold, host_bundle: bytes
    ) -> frozenset[bytes]:
        snapshots = self._parts.snapshots
        view = snapshots.mount_image(step_id, job.layers)
        try:
            if host_bundle:
                own = trust.image_bundles(view)
                scaffold.contents = {path: trust.joined(data, host_bundle) for path, data in own.items()}
            if not scaffold.missing_in(view):
                return frozenset()
        finally:
            os.close(view)
        with snapshots.scaffold(step_id, job.layers) as root:
            scaffold.make_in(root)
            return scaffold.lend_in(root)

    def _remove_after(self, step_id: str, kind: type[BaseException] | None, *_more: object) -> None:
        """Behind the build's back; a step that failed, perhaps for want of space, before that is told."""
        if kind is not None:
            self._remove_quietly(step_id)
            return
        try:
            self._remover.submit(self._remove_quietly, step_id)
        except RuntimeError:  # the daemon ends
            self._remove_quietly(step_id)

    def _remove_quietly(self, step_id: str) -> None:
        try:
            self._remove(step_id)
        except OSError:  # the next daemon tries again
            _log.exception("removal of build step %s", step_id)

    def _remove(self, step_id: str) -> None:
        paths = self._parts.paths
        for parent in (paths.containers_run, paths.containers):
            tree.remove_in(parent, step_id)


def _is_residue(path: bytes) -> bool:
    return residue_of(path) is not None
