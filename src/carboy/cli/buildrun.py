"""A build, from the client's side.

    POST /build/begin      what Docker's API cannot say ─▶ an ID
    PUT  /build/context    what has to be sent
    POST /build?build=ID   messages, to the end
    GET  /build/output     what goes to this machine

A real Docker does not know the first: it gets the context as a tar and tells its classic messages
(buildclassic.py).  When this process ends, its connection does, and the daemon stops the build.
"""

from __future__ import annotations

import os

from carboy.cli import buildcontext, buildoptions, buildoutputs
from carboy.cli.flags import UsageError
from carboy.cli.session import for_people
from carboy.client import document, endpoint
from carboy.client.transport import ServerError, checked
from carboy.errors import CarboyError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from carboy.cli.buildcontext import Given
    from carboy.cli.buildoutputs import Output
    from carboy.cli.buildshow import Display
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json
    from carboy.client.transport import Connection, Response

    Query = tuple[tuple[str, str], ...]

TRACE = "carboy.trace"
_NOT_THERE = (404, 405)
_NOT_HERE = 501
_DISTRUST = (
    "certificate verify failed",
    "certificate verification failed",
    "self-signed certificate",
    "self signed certificate",
    "unable to get local issuer certificate",
    "certificate is not trusted",
    "certificate signed by unknown authority",
    "unable to find valid certification path",
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")


def build(session: Session, parsed: Parsed) -> int:
    """Build and say what was built; 1 when it failed."""
    if parsed.flag("push"):
        raise Unsupported("no pushing yet: it comes with registries in a later version: use `carboy save`")
    endpoint.resolve(session.wish, os.environ, session.settings, session.home)  # a check works without
    show = _progress(parsed)
    outputs = buildoutputs.parse(parsed.list("output"))
    iidfile = parsed.text("iidfile")
    for path in (iidfile, parsed.text("metadata-file")):
        if path:
            buildoutputs.require_folder(path)
    if iidfile and os.path.exists(iidfile):
        os.unlink(iidfile)  # an old ID must not be taken for that of a build that failed
    near = bool(session.address.path) and os.geteuid() == 0
    query = buildoptions.query(parsed, os.environ)
    rest = buildoptions.options(parsed, os.environ, near=bool(session.address.path))
    work = _Work(session, parsed, query, outputs)
    begun = work.begin(rest, near=near)
    if not begun:
        from carboy.cli import buildclassic

        try:
            return buildclassic.build(session, parsed, query, work.given)
        finally:
            work.close()
    display = _display(show)
    try:
        work.build(display)
    except KeyboardInterrupt:
        display.interrupted()
        raise
    finally:
        display.close()
        work.close()
    if not display.failure and not display.result:
        display.failure = {"Text": "the daemon's answer ended before the build did: see its log"}
    if display.failure:
        return _failed(session, display, show, trusting=parsed.flag("host-ca"))
    work.receive()
    work.finish(display)
    _summary(session, parsed, display, show)
    return 0


class _Work:
    """One build at a daemon that is Carboy."""

    def __init__(
        self,
        session: Session,
        parsed: Parsed,
        query: Query,
        outputs: list[Output],
    ) -> None:
        self._session = session
        self._parsed = parsed
        self._query = query
        self._outputs = outputs
        self.given = buildcontext.Given()
        self.id = ""

    def begin(self, rest: Json, *, near: bool) -> str:
        """Say what the query cannot; "" when the daemon is another Docker."""
        self.given = self._gather(near=near)
        try:
            return self._begin(rest)
        except ServerError as error:
            if error.status in _NOT_THERE:
                self.given.send_all()
                return ""
            if error.status != _NOT_HERE or not near:
                self.close()
                raise
        except BaseException:
            self.close()
            raise
        self.given.send_all()  # it does not take descriptors of this user, or from there
        return self._begin(rest)

    def _gather(self, *, near: bool) -> Given:
        parsed = self._parsed
        return buildcontext.gather(
            parsed.arguments[0], parsed.text("file"), parsed.list("build-context"), near=near
        )

    def _begin(self, rest: Json) -> str:
        session = self._session
        body = {**self.given.document, **rest}
        if self._outputs:
            body["Outputs"] = [one.document for one in self._outputs]
        for flag, key in (("cache-from", "CacheFrom"), ("cache-to", "CacheTo")):
            if self._parsed.list(flag):
                body[key] = self._caches(flag)
        proxies = session.settings.proxies(session.address.url) or _own_proxies(session)
        if proxies:
            body["Proxies"] = proxies
        answer = session.client.post("/build/begin", body=body)
        self.id = document.text(answer, "Id")
        return self.id

    def _caches(self, flag: str) -> list[Json]:
        found, directories = buildoptions.cache_locations(self._parsed.list(flag), flag)
        if directories and not self._session.address.path:
            raise Unsupported(f"--{flag} type=local: the directory must be on the daemon's own machine")
        for one in directories:
            path = one["Attributes"].get("src") or one["Attributes"]["dest"]
            if flag == "cache-to":
                os.makedirs(path, exist_ok=True)
            elif not os.path.lexists(path):  # as it is before the first build that keeps one
                self._session.warn(f"WARNING: --cache-from: there is no cache in {path} yet: it is not used")
                found.remove(one)
                continue
            one["Descriptor"] = self.given.keep(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            one["Attributes"]["src" if flag == "cache-from" else "dest"] = os.path.abspath(path)
        return found

    def build(self, display: Display) -> None:
        """Send what has to be sent, and follow the build to its end."""
        client = self._session.client
        for name, tar in self.given.tars.items():
            from carboy.cli.progress import Progress  # only for contexts that are sent

            progress = Progress("Sending build context")
            try:
                query: Query = (("build", self.id), ("name", name))
                response = client.request("PUT", "/build/context", query, upload=progress.count(tar()))
                response.read()
                client.keep(response)
            finally:
                progress.finish()
        query = (*self._query, ("build", self.id), ("version", "1"))
        if self.given.dockerfile:
            query += (("dockerfile", self.given.dockerfile),)
        connection = client.connect()
        client.send(connection, "POST", "/build", query)
        _wait(connection, display)
        for message in _messages(checked(connection.read_head("POST")), display):
            _take(message, display)

    def receive(self) -> None:
        """Fetch the outputs that go to this machine."""
        buildoutputs.receive(self._session, self.id, self._outputs)

    def finish(self, display: Display) -> None:
        """Write the files that say what was built."""
        image = _image_id(display.result)
        if self._parsed.text("iidfile") and image:
            buildoutputs.write_file(self._parsed.text("iidfile"), image.encode())
        if self._parsed.text("metadata-file"):
            found = buildoutputs.metadata(self.id, display.result, self._parsed.list("tag"))
            text = document.pretty(found, "  ") + "\n"
            buildoutputs.write_file(self._parsed.text("metadata-file"), text.encode())

    def close(self) -> None:
        """Let go of the contexts."""
        self.given.close()


def _own_proxies(session: Session) -> dict[str, str]:
    """The proxies of this shell, when the daemon is on the same machine."""
    if not session.address.path:
        return {}
    names = [one for name in _PROXIES for one in (name, name.upper())]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _progress(parsed: Parsed) -> str:
    """auto, plain, tty, rawjson or quiet."""
    show = parsed.text("progress") or os.environ.get("BUILDKIT_PROGRESS") or "auto"
    if show not in ("auto", "plain", "tty", "rawjson", "quiet", "none"):
        raise UsageError(f'invalid progress mode "{show}": write auto, plain, tty, rawjson or quiet', 1)
    return "quiet" if parsed.flag("quiet") or show == "none" else show


def _display(show: str) -> Display:
    from carboy.cli import buildshow

    if show == "quiet":
        return buildshow.Display()
    if show == "rawjson":
        return buildshow.Raw()
    if show == "tty" or (show == "auto" and os.isatty(2)):
        from carboy.cli import buildscreen

        if buildscreen.usable():
            return buildscreen.Screen()
    return buildshow.Plain()


def _messages(response: Response, display: Display) -> Iterator[Json]:
    """The objects of the stream; the display is given its time while nothing comes."""
    pending = b""
    pieces = response.chunks()
    while True:
        if not response.started:
            _wait(response.connection, display)
        piece = next(pieces, None)
        if piece is None:
            break
        lines = (pending + piece).split(b"\n")
        pending = lines.pop()
        for line in lines:
            if line.strip():
                yield document.as_object(document.decode(line))
    if pending.strip():
        yield document.as_object(document.decode(pending))


def _wait(connection: Connection, display: Display) -> None:
    """Until something can be read, with ticks for a display that draws."""
    interval = display.interval
    if not interval or connection.helper or not hasattr(connection.socket, "fileno"):
        return
    if type(connection.socket).__name__ != "socket":
        return  # what TLS has read already is seen by no poll
    import select

    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    while not poll.poll(int(interval * 1000)):
        display.tick()


def _take(message: Json, display: Display) -> None:
    if document.text(message, "id") == TRACE:
        display.take(document.child(message, "aux"))
        return
    error = document.text(message, "error")
    if error and not display.failure:
        display.failure = {"Text": error}


def _failed(session: Session, display: Display, show: str, *, trusting: bool) -> int:
    """What the step printed, where it stands, and why: as docker's."""
    failure, lines = display.failure, []
    step = display.failed_step
    if step is not None and step.tail:
        lines += ["------", f" > {step.name}:", *step.tail, "------"]
    if excerpt := document.text(failure, "Excerpt"):
        lines.append(excerpt)
    if show != "rawjson" and lines:
        session.warn(for_people(2, "\n".join(lines)))
    text = document.text(failure, "Text") or "the build failed"
    if step is not None and not trusting and _distrusts(step.tail):
        text += "; it did not trust a certificate: --host-ca lets steps trust what this machine trusts"
    if step is not None and text.endswith(" code: 126") and "Permission denied" in "".join(step.tail[-1:]):
        text += "; what COPY brings keeps its mode: COPY --chmod=755 makes it a program"
    raise BuildFailed(text)


def _distrusts(lines: list[str]) -> bool:
    """Whether a program refused a certificate: what OpenSSL, GnuTLS, Go, Java and Node say then."""
    text = "\n".join(lines).lower()
    return any(words in text for words in _DISTRUST)


class BuildFailed(CarboyError):
    """The build ended with an error, which has been shown."""

    exit_code = 1


def _image_id(result: Json) -> str:
    images = document.children(result, "Images")
    outputs = [one for one in document.children(result, "Outputs") if document.text(one, "ImageId")]
    if images:
        return document.text(images[-1], "Id")
    return document.text(outputs[0], "ImageId") if outputs else ""


def _between(image: str, what: str) -> str:
    """What parts an ID and its names: a narrow terminal has a line for each."""
    if what and os.isatty(2):
        from carboy.cli import terminal  # only where there is one

        size = terminal.size(2)
        if size is not None and len(image) + 2 + len(what) > size[1]:
            return "\n"
    return "  " if what else ""


def _summary(session: Session, parsed: Parsed, display: Display, show: str) -> None:
    image = _image_id(display.result)
    if parsed.flag("explain"):
        from carboy.cli import buildexplain

        text = buildexplain.table(display)
        if show == "quiet":
            session.warn(text)
        else:
            session.out(text)
    if show == "quiet":
        if image:
            session.out(image)
        return
    if show == "rawjson":
        return
    done, cached = display.counts
    seconds = display.result.get("Seconds", 0.0)
    names = [
        name for one in document.children(display.result, "Images") for name in document.strings(one, "Names")
    ]
    what = " ".join(dict.fromkeys(names))
    session.warn(f"{done} step{'s' * (done != 1)}, {cached} from cache, {seconds:.1f} s")
    if image:
        session.warn(f"{image}{_between(image, what)}{what}")
