#!/usr/bin/env python3
"""Time container engines side by side on the same work, in one run.

Every engine is driven through a Docker-style command line, so one scenario
serves them all.  Scenarios run in rounds (A, B, A, B, ...) and are reported as
medians plus the ratio to the first engine, which stays meaningful on a noisy
machine where absolute times do not.

    benchmarks/bench_engines.py --engine carboy=carboy --engine docker='docker -H unix:///tmp/peer/docker.sock'
    benchmarks/bench_engines.py --only run,exec --rounds 15 ...
    benchmarks/bench_engines.py --list

With --peers, a Docker daemon from Debian's package is started on private paths, and stopped at the end.
Standard library only; Linux; run as root.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import io
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

TINY = "bench/tiny:1"  # busybox only
BASE = "bench/base:1"  # a Debian minbase: ~8,700 entries, ~160 MB; keep it under this tag only
LABEL = "bench.sidebyside"


class SkipError(Exception):
    """The engine (or the machine) can't do this scenario; the reason is shown."""


@dataclass
class Engine:
    name: str
    argv: list[str]
    run_args: list[str] = field(default_factory=list)

    def __call__(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [*self.argv, *args],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=180,
            )
        except subprocess.TimeoutExpired:
            raise SkipError(f"{shlex.join(args)[:60]}: no answer in 180 s") from None
        if check and done.returncode:
            raise SkipError(f"{shlex.join(args)[:60]}: rc {done.returncode}: {done.stderr.strip()[-160:]}")
        return done

    def timed(self, *args: str) -> float:
        start = time.perf_counter()
        self(*args)
        return time.perf_counter() - start

    def run(self, *args: str) -> float:
        return self.timed("run", *self.run_args, *args)

    def start(self, name: str, *args: str) -> None:
        self("rm", "-f", name, check=False)
        self("run", "-d", "--name", name, *self.run_args, *args)

    def remove(self, *names: str) -> None:
        if names:
            self("rm", "-f", *names, check=False)


# --- material -------------------------------------------------------------


def busybox_root(work: Path) -> Path:
    out = work / "tiny.tar"
    if out.exists():
        return out
    busybox = shutil.which("busybox") or sys.exit("install busybox-static")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split()
    with tarfile.open(out, "w") as tar:
        for name in ("bin", "tmp", "etc", "root", "dev", "proc", "sys"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        tar.add(os.path.realpath(busybox), "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                info = tarfile.TarInfo(f"bin/{applet}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
        for name, text in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out


def debian_root(work: Path) -> Path:
    out = work / "base.tar"
    if not out.exists():
        if not shutil.which("mmdebstrap"):
            raise SkipError("install mmdebstrap for the Debian base")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", out], check=True)
    return out


def have_image(engine: Engine, ref: str) -> bool:
    return engine("image", "inspect", ref, check=False).returncode == 0


def need_tiny(engine: Engine, work: Path) -> None:
    if not have_image(engine, TINY):
        engine("import", str(busybox_root(work)), TINY)


def need_base(engine: Engine, work: Path) -> None:
    if not have_image(engine, BASE):
        engine("import", str(debian_root(work)), BASE)


def check_base(engine: Engine, ref: str = BASE) -> None:
    """An image that has really arrived can be read to its last file."""
    engine(
        "run",
        "--rm",
        "--network",
        "none",
        *engine.run_args,
        ref,
        "sh",
        "-c",
        "tar -cf - /usr | wc -c >/dev/null",
    )


def disk_used(path: Path) -> int:
    stat = os.statvfs(path)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def build_context(work: Path, files: int = 3000) -> Path:
    """A project-like context: `files` small source files and a 40 MB data file."""
    ctx = work / f"ctx{files}"
    if not ctx.exists():
        rng = random.Random(7)
        for i in range(files):
            path = ctx / "src" / f"pkg{i % 40}" / f"mod{i}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(rng.randint(200, 4000)))
        (ctx / "data.bin").write_bytes(rng.randbytes(40 << 20))
        (ctx / "Dockerfile").write_text(
            f"FROM {TINY}\nWORKDIR /app\nCOPY data.bin /data/\nCOPY src src\n"
            + "".join(f"RUN echo step {i} > /app/s{i}\n" for i in range(8))
            + 'ENV A=1\nCMD ["true"]\n'
        )
    return ctx


# --- scenarios: each yields one figure per round --------------------------

Scenario = Callable[[Engine, Path], float]
SCENARIOS: dict[str, tuple[str, str, Scenario]] = {}


def scenario(name: str, unit: str, *, lower_is_better: bool = True) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = (unit, "lower" if lower_is_better else "higher", function)
        return function

    return register


@scenario("run-none", "s")
def run_none(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    return engine.run("--rm", "--network", "none", TINY, "true")


@scenario("run", "s")
def run_bridge(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    return engine.run("--rm", TINY, "true")


@scenario("exec", "s")
def exec_true(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    name = "bench-exec"
    if engine("inspect", name, check=False).returncode:
        engine.start(name, TINY, "sleep", "3600")
    return engine.timed("exec", name, "true")


@scenario("parallel16", "s")
def parallel(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: engine.run("--rm", TINY, "true"), range(16)))
    return time.perf_counter() - start


@scenario("stop-start", "s")
def stop_start(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    name = "bench-stop"
    if engine("inspect", name, check=False).returncode:
        engine.start(name, TINY, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.01; done")
    start = time.perf_counter()
    engine("stop", name)
    engine("start", name)
    return time.perf_counter() - start


@scenario("load", "s")
def load_image(engine: Engine, work: Path) -> float:
    need_base(engine, work)
    archive = work / f"save-{engine.name}.tar"
    if not archive.exists():
        engine("save", "-o", str(archive), BASE)
    engine("rmi", "-f", BASE)
    took = engine.timed("load", "-i", str(archive))
    check_base(engine)
    return took


@scenario("rmi", "s")
def remove_image(engine: Engine, work: Path) -> float:
    """Remove the base image; the disk must be free again when the command returns."""
    need_base(engine, work)
    os.sync()
    before = disk_used(work)
    took = engine.timed("rmi", "-f", BASE)
    os.sync()
    if before - disk_used(work) < 100 << 20:
        raise SkipError("the disk space did not come back with rmi (is the base under another tag too?)")
    return took


@scenario("pull", "s")
def pull_image(engine: Engine, work: Path) -> float:
    """Pull the base from a local registry: gzip, pushed there by skopeo for every engine alike."""
    ref = registry_ref(engine, work)
    engine("rmi", "-f", BASE, check=False)
    engine("rmi", "-f", ref, check=False)
    took = engine.timed("pull", *tls(engine), ref)
    check_base(engine, ref)
    engine("rmi", "-f", ref, check=False)
    return took


@scenario("push", "s")
def push_image(engine: Engine, work: Path) -> float:
    """Push a fresh 60 MB layer to a local registry."""
    registry = os.environ.get("BENCH_REGISTRY") or _skip("set BENCH_REGISTRY=127.0.0.1:5000")
    need_tiny(engine, work)
    name = f"bench-push-{random.getrandbits(32):08x}"
    engine.run(
        "--name", name, "--network", "none", TINY, "dd", "if=/dev/urandom", "of=/blob", "bs=1M", "count=60"
    )
    ref = f"{registry}/{name}:1"
    engine("commit", name, ref)
    took = engine.timed("push", *tls(engine), ref)
    engine.remove(name)
    engine("rmi", "-f", ref, check=False)
    return took


def registry_ref(engine: Engine, work: Path) -> str:
    registry = os.environ.get("BENCH_REGISTRY") or _skip("set BENCH_REGISTRY=127.0.0.1:5000")
    ref = f"{registry}/bench/base:1"
    target = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{ref}"]
    if subprocess.run(target, capture_output=True).returncode:
        need_base(engine, work)
        archive = work / "neutral.tar"
        archive.unlink(missing_ok=True)
        engine("save", "-o", str(archive), BASE)
        copy = [
            "skopeo",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--dest-compress-format",
            "gzip",
            f"docker-archive:{archive}",
            f"docker://{ref}",
        ]
        if done := subprocess.run(copy, capture_output=True, text=True).stderr.strip():
            raise SkipError(f"skopeo copy: {done[-120:]}")
    return ref


def tls(engine: Engine) -> list[str]:
    return ["--tls-verify=false"] if "podman" in engine.name else []


def _skip(why: str) -> str:
    raise SkipError(why)


@scenario("build-cold", "s")
def build_cold(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    return engine.timed("build", "--no-cache", "-q", "-t", "bench/build:1", str(build_context(work)))


@scenario("build-warm", "s")
def build_warm(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    ctx = str(build_context(work))
    engine("build", "-q", "-t", "bench/build:2", ctx)
    return engine.timed("build", "-q", "-t", "bench/build:2", ctx)


@scenario("build-edit", "s")
def build_edit(engine: Engine, work: Path) -> float:
    """One source file changed: everything from COPY src on must be redone."""
    need_tiny(engine, work)
    ctx = build_context(work)
    engine("build", "-q", "-t", "bench/build:3", str(ctx))
    (ctx / "src" / "pkg0" / "mod0.py").write_bytes(random.randbytes(900))
    return engine.timed("build", "-q", "-t", "bench/build:3", str(ctx))


@scenario("save", "s")
def save_image(engine: Engine, work: Path) -> float:
    need_base(engine, work)
    archive = work / f"save2-{engine.name}.tar"
    archive.unlink(missing_ok=True)
    return engine.timed("save", "-o", str(archive), BASE)


@scenario("commit", "s")
def commit(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    name = "bench-commit"
    if engine("inspect", name, check=False).returncode:
        engine.run(
            "--name",
            name,
            "--network",
            "none",
            TINY,
            "sh",
            "-c",
            "dd if=/dev/urandom of=/blob bs=1M count=64",
        )
    took = engine.timed("commit", name, "bench/commit:1")
    engine("rmi", "-f", "bench/commit:1", check=False)
    return took


@scenario("cp-in", "s")
def copy_in(engine: Engine, work: Path) -> float:
    """Copy 3,000 small files and one of 40 MB into a running container."""
    need_tiny(engine, work)
    name = "bench-cp"
    engine.start(name, TINY, "sleep", "3600")
    return engine.timed("cp", str(build_context(work)), f"{name}:/tmp/")


@scenario("logs", "MB/s", lower_is_better=False)
def log_throughput(engine: Engine, work: Path) -> float:
    """A container writes 64 MB of lines to stdout, then `logs` reads them back."""
    need_tiny(engine, work)
    name, megabytes = "bench-logs", 64
    engine.remove(name)
    line = "x" * 127
    start = time.perf_counter()
    engine.start(name, TINY, "sh", "-c", f"yes {line} | head -n {megabytes * 8192}")
    engine("wait", name)
    out = work / "logs.out"
    with out.open("wb") as sink:
        subprocess.run(
            [*engine.argv, "logs", name],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.DEVNULL,
            timeout=180,
        )
    took = time.perf_counter() - start
    size = out.stat().st_size
    engine.remove(name)
    if size != megabytes << 20:
        raise SkipError(f"logs lost data: {size} of {megabytes << 20} bytes")
    return megabytes / took


@scenario("ps100", "s")
def list_many(engine: Engine, work: Path) -> float:
    need_tiny(engine, work)
    names = [f"bench-ps-{i}" for i in range(100)]
    have = engine("ps", "-aq", "--filter", f"label={LABEL}=ps").stdout.split()
    for name in names[len(have) :]:
        engine("create", "--name", name, "--label", f"{LABEL}=ps", *engine.run_args, TINY, "true")
    return engine.timed("ps", "-a")


def _pss(pid: int) -> int:
    try:
        with Path(f"/proc/{pid}/smaps_rollup").open() as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _total_pss(skip: set[int]) -> int:
    return sum(_pss(int(p)) for p in os.listdir("/proc") if p.isdigit() and int(p) not in skip)


@scenario("mem-per-container", "MiB")
def memory(engine: Engine, work: Path) -> float:
    """Growth of the whole machine's PSS per idle container, its own process included."""
    need_tiny(engine, work)
    names = [f"bench-mem-{i}" for i in range(10)]
    engine.remove(*names)
    engine.run("--rm", TINY, "true")
    me = {os.getpid()}
    before = _total_pss(me)
    for name in names:
        engine("run", "-d", "--name", name, *engine.run_args, TINY, "sleep", "3600")
    time.sleep(1)
    grown = _total_pss(me) - before
    engine.remove(*names)
    return grown / 1024 / len(names)


# --- report ----------------------------------------------------------------


@dataclass
class Figures:
    """What one engine showed in one scenario: a value per round, or why there is none."""

    values: list[float] = field(default_factory=list)
    skipped: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values and not self.skipped else None


def measure(engines: list[Engine], name: str, rounds: int, work: Path) -> dict[str, Figures]:
    function = SCENARIOS[name][2]
    figures = {engine.name: Figures() for engine in engines}
    for turn in range(rounds + 1):  # the first round warms up and is not counted
        shift = turn % len(engines)  # rotate, so that nobody always runs in another's wake
        for engine in engines[shift:] + engines[:shift]:
            if figures[engine.name].skipped:
                continue
            try:
                value = function(engine, work)
            except SkipError as why:
                figures[engine.name].skipped = str(why)
                continue
            if turn:
                figures[engine.name].values.append(value)
    return figures


def clean(engines: list[Engine]) -> None:
    for engine in engines:
        engine.remove("bench-exec", "bench-stop", "bench-commit", "bench-cp", "bench-logs")
        engine.remove(*(f"bench-{kind}-{i}" for kind in ("ps", "mem") for i in range(100)))
        for turn in (1, 2, 3):
            engine("rmi", "-f", f"bench/build:{turn}", check=False)
        engine("image", "prune", "-f", check=False)


@contextlib.contextmanager
def docker_peer(home: Path) -> Iterator[Engine]:
    """A Docker daemon on paths of its own, stopped by its process id at the end."""
    home.mkdir(parents=True, exist_ok=True)
    socket = f"unix://{home}/docker.sock"
    command = ["dockerd", "--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "-H", socket]
    with (home / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen([*command, "--pidfile", str(home / "docker.pid")], stdout=log, stderr=log)
    engine = Engine("docker", ["/usr/bin/docker", "-H", socket])
    os.environ["DOCKER_BUILDKIT"] = "1"  # its faster builder; nobody else reads it
    try:
        deadline = time.monotonic() + 60
        while engine("version", check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"dockerd does not answer: see {home}/dockerd.log")
            time.sleep(0.2)
        yield engine
    finally:
        daemon.terminate()
        daemon.wait()


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    uname = os.uname()
    return {
        "kernel": uname.release,
        "machine": uname.machine,
        "cores": os.cpu_count() or 0,
        "memory_gib": memory,
        "python": sys.version.split()[0],
    }


def parse_engine(text: str) -> Engine:
    name, _, command = text.partition("=")
    command, _, run_args = command.partition(" :: ")
    return Engine(name, shlex.split(command), shlex.split(run_args))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        type=parse_engine,
        metavar="NAME=COMMAND",
        help="an engine; ratios are of the first. Arguments after ' :: ' go to each run and create",
    )
    parser.add_argument("--peers", action="store_true", help="start a Docker daemon beside them")
    parser.add_argument("--only", help="comma-separated scenarios")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "carboy-bench")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def report_line(name: str, unit: str, engines: list[Engine], figures: dict[str, Figures]) -> str:
    first = figures[engines[0].name].median
    cells = []
    for engine in engines:
        median = figures[engine.name].median
        cells.append(f"{'-':>12}" if median is None else f"{median:12.3f}")
    for engine in engines[1:]:
        peer = figures[engine.name].median
        cells.append(f"{'-':>8}" if not first or not peer else f"{first / peer:8.2f}")
    skipped = "".join(f"\n    {k}: {v.skipped}" for k, v in figures.items() if v.skipped)
    return f"{name:18} {unit:5} {' '.join(cells)}{skipped}"


def compare(engines: list[Engine], chosen: list[str], rounds: int, work: Path) -> dict[str, object]:
    work.mkdir(parents=True, exist_ok=True)
    names = " ".join(f"{engine.name:>12}" for engine in engines)
    print(f"{'scenario':18} {'unit':5} {names} " + " ".join(f"/{e.name:>7}" for e in engines[1:]))
    result: dict[str, object] = {"machine": machine()}
    for name in chosen:
        unit = SCENARIOS[name][0]
        try:
            figures = measure(engines, name, rounds, work)
        finally:
            clean(engines)
        result[name] = {"unit": unit, "figures": {k: v.skipped or v.values for k, v in figures.items()}}
        print(report_line(name, unit, engines, figures), flush=True)
    return result


def main() -> int:
    args = parse_arguments()
    if args.list:
        for name, (unit, better, function) in SCENARIOS.items():
            print(f"{name:18} {unit:5} {better} is better  {(function.__doc__ or '').strip()}")
        return 0
    chosen = args.only.split(",") if args.only else list(SCENARIOS)
    engines = args.engine or [Engine("carboy", ["carboy"])]
    with contextlib.ExitStack() as stack:
        if args.peers:
            engines = [*engines, stack.enter_context(docker_peer(args.work / "docker"))]
        result = compare(engines, chosen, args.rounds, args.work)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
