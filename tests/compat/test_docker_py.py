"""docker-py drives every endpoint of the API's first part against a real daemon."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import docker.types
import pytest

from support.clients.dockerpy import UNTIDY, connect
from support.daemon import busybox_tar

IMAGE = "compat/busybox:1"

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.timeout(60),
    *UNTIDY,
]


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[Any]:
    client = connect(host, IMAGE, changes=["ENV A=from-image", 'CMD ["true"]'])
    yield client
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    client.close()


@pytest.fixture(autouse=True)
def cleaned(client: Any) -> Iterator[None]:
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)


def sh(client: Any, script: str, **more: Any) -> Any:
    return client.containers.run(IMAGE, ["sh", "-c", script], detach=True, **more)


def test_system(client: Any) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"]
    info = client.info()
    assert info["OSType"] == "linux"
    assert info["NCPU"] >= 1
    assert info["Images"] >= 1
    assert "Images" in client.df()


def test_run_returns_output_and_fails_with_the_exit_code(client: Any) -> None:
    assert client.containers.run(IMAGE, ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 7"], remove=True)
    assert caught.value.exit_status == 7
    assert caught.value.stderr == b"bad\n"


def test_the_life_of_a_container(client: Any) -> None:
    container = client.containers.create(
        IMAGE, ["sleep", "100"], name="life", labels={"k": "v"}, hostname="box"
    )
    assert container.status == "created"
    container.start()
    container.reload()
    assert container.status == "running"
    assert container.attrs["State"]["Pid"] > 0
    assert container.attrs["Config"]["Hostname"] == "box"
    assert [one.name for one in client.containers.list(filters={"label": "k=v"})] == ["life"]
    assert client.containers.list(filters={"label": "k=w"}) == []
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("alive")
    assert client.containers.get("alive").id == container.id
    with pytest.raises(docker.errors.APIError) as caught:
        container.remove()
    assert caught.value.status_code == 409
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.restart(timeout=0)
    container.reload()
    assert container.status == "running"
    container.stop(timeout=0)
    container.reload()
    assert container.status == "exited"
    container.remove()
    with pytest.raises(docker.errors.NotFound, match="No such container"):
        client.containers.get("alive")


def test_names_conflict_in_dockers_words(client: Any) -> None:
    client.containers.create(IMAGE, name="one")
    with pytest.raises(docker.errors.APIError, match='The container name "/one" is already in use'):
        client.containers.create(IMAGE, name="one")


def test_missing_images_and_programs(client: Any) -> None:
    with pytest.raises(docker.errors.ImageNotFound):
        client.api.create_container("no/such:image")
    container = client.containers.create(IMAGE, ["no-such-program"])
    with pytest.raises(docker.errors.APIError, match="executable file not found in"):
        container.start()


def test_waiting_for_the_next_exit_and_for_removal(client: Any) -> None:
    container = client.containers.create(IMAGE, ["sh", "-c", "exit 3"])
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda c=condition: results.append(container.wait(condition=c)["StatusCode"]))
        for condition in ("next-exit", "removed")
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    container.start()
    threads[0].join(40)
    container.remove()
    threads[1].join(40)
    assert results == [3, 3]


def test_logs(client: Any) -> None:
    container = sh(client, "echo one; echo two >&2; echo three")
    container.wait()
    assert sorted(container.logs().splitlines()) == [b"one", b"three", b"two"]
    assert container.logs(stderr=False) == b"one\nthree\n"
    assert container.logs(stdout=False) == b"two\n"
    assert container.logs(tail=0) == b""
    assert len(container.logs(tail=2).splitlines()) == 2
    stamped = container.logs(stderr=False, timestamps=True).splitlines()[0]
    assert stamped.endswith(b"Z one")
    assert container.logs(since=int(time.time()) + 100) == b""


def test_following_logs(client: Any) -> None:
    container = sh(client, "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"


def test_attach_with_input(client: Any) -> None:
    container = client.containers.create(IMAGE, ["cat"], stdin_open=True)
    connection = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    container.start()
    connection._sock.sendall(b"through and back\n")
    data = b""
    while len(data) < 8 + 17:
        data += connection.read(8 + 17 - len(data))
    assert data == bytes([1, 0, 0, 0, 0, 0, 0, 17]) + b"through and back\n"
    connection.close()


def test_attach_to_a_terminal_and_resize(client: Any) -> None:
    container = client.containers.create(IMAGE, ["sh"], tty=True, stdin_open=True)
    connection = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    container.resize(height=33, width=77)
    connection._sock.sendall(b"stty size; exit\n")
    data = b""
    while b"33 77" not in data:
        more = connection._sock.recv(4096)
        assert more, data
        data += more
    connection.close()
    assert container.wait()["StatusCode"] == 0


def test_streaming_attach(client: Any) -> None:
    container = client.containers.create(IMAGE, ["sh", "-c", "echo a; echo b"])
    stream = container.attach(stream=True, logs=True)
    container.start()
    assert b"".join(stream) == b"a\nb\n"


def test_exec(client: Any) -> None:
    container = sh(client, "sleep 100")
    assert container.exec_run("echo hi") == (0, b"hi\n")
    assert container.exec_run(["sh", "-c", "exit 5"]).exit_code == 5
    assert container.exec_run("id -u", user="me").output == b"1000\n"
    assert (
        container.exec_run(["sh", "-c", "echo $B; pwd"], environment={"B": "b"}, workdir="/tmp").output
        == b"b\n/tmp\n"
    )
    both = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
    assert both.output == (b"out\n", b"err\n")
    made = client.api.exec_create(container.id, ["cat"], stdin=True)
    connection = client.api.exec_start(made["Id"], socket=True)
    connection._sock.sendall(b"input")
    data = b""
    while len(data) < 13:
        data += connection.read(13 - len(data))
    assert data[8:] == b"input"
    assert client.api.exec_inspect(made["Id"])["Running"] is True
    connection.close()
    terminal = client.api.exec_create(container.id, ["stty", "size"], tty=True, stdin=True)
    assert client.api.exec_start(terminal["Id"], tty=True)
    assert client.api.exec_inspect(terminal["Id"])["ExitCode"] == 0
    container.exec_run("touch /tmp/made", detach=True)
    with pytest.raises(docker.errors.NotFound):
        client.api.exec_inspect("nothing")


def test_exec_needs_a_running_container(client: Any) -> None:
    container = client.containers.create(IMAGE, ["true"])
    with pytest.raises(docker.errors.APIError, match="is not running") as caught:
        container.exec_run("true")
    assert caught.value.status_code == 409


def test_host_configuration(client: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("from the host")
    tmp_path.chmod(0o755)
    container = client.containers.create(
        IMAGE,
        [
            "sh",
            "-c",
            "cat /mnt/file; echo $A $B; pwd; id -u; hostname; touch /x 2>/dev/null || echo ro; ls /s",
        ],
        volumes={str(tmp_path): {"bind": "/mnt", "mode": "ro"}},
        environment={"B": "b"},
        working_dir="/tmp",
        user="7:8",
        hostname="named",
        read_only=True,
        tmpfs={"/s": "size=1m"},
        mem_limit="64m",
        pids_limit=50,
        nano_cpus=500_000_000,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=100)],
        init=True,
        stop_signal="SIGINT",
        network_mode="none",
    )
    container.start()
    assert container.wait()["StatusCode"] == 0
    assert container.logs() == b"from the hostfrom-image b\n/tmp\n7\nnamed\nro\n"
    host = container.attrs["HostConfig"]
    assert host["Memory"] == 64 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 50
    assert host["ReadonlyRootfs"] is True


def test_volumes(client: Any) -> None:
    volume = client.volumes.create("data", labels={"x": "y"})
    client.containers.run(
        IMAGE, ["sh", "-c", "echo kept > /v/f"], volumes={"data": {"bind": "/v"}}, remove=True
    )
    assert (
        client.containers.run(IMAGE, ["cat", "/v/f"], volumes={"data": {"bind": "/v"}}, remove=True)
        == b"kept\n"
    )
    assert [one.name for one in client.volumes.list(filters={"label": "x"})] == ["data"]
    user = client.containers.create(IMAGE, ["true"], volumes={"data": {"bind": "/v"}})
    with pytest.raises(docker.errors.APIError) as caught:
        volume.remove()
    assert caught.value.status_code == 409
    user.remove()
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get("data")
    assert "VolumesDeleted" in client.volumes.prune()


def test_networks(client: Any) -> None:
    assert {one.name for one in client.networks.list()} >= {"bridge", "host", "none"}
    assert client.networks.list(names=["bridge"])[0].attrs["Driver"] == "bridge"
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("no-such-network")


def test_images(client: Any) -> None:
    image = client.images.get(IMAGE)
    assert image.id.startswith("sha256:")
    assert "A=from-image" in image.attrs["Config"]["Env"]
    assert image.history()
    assert image.tag("compat/other", "2")
    assert {"compat/other:2", IMAGE} <= set(client.images.get(image.id).tags)
    assert client.images.list(name="compat/other")
    client.images.remove("compat/other:2")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("compat/other:2")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.remove("no/such")


def test_save_and_load(client: Any) -> None:
    archive = b"".join(client.images.get(IMAGE).save(named=True))
    image_id = client.images.get(IMAGE).id
    client.api.tag(IMAGE, "compat/kept", "1")
    loaded = client.images.load(archive)
    assert [one.id for one in loaded] == [image_id]
    client.images.remove("compat/kept:1")
    with pytest.raises(docker.errors.APIError):
        list(client.api.load_image(b"this is no archive" * 100))


def test_commit(client: Any) -> None:
    container = sh(client, "echo made > /made")
    container.wait()
    image = container.commit(
        "compat/committed", "1", message="why", author="who", changes='CMD ["cat", "/made"]'
    )
    assert client.containers.run(image, remove=True) == b"made\n"
    assert client.images.get("compat/committed:1").attrs["Author"] == "who"
    client.images.remove("compat/committed:1")


def test_import_of_a_stream(client: Any) -> None:
    reply = client.api.import_image_from_data(busybox_tar(), repository="compat/in", tag="1")
    assert json.loads(reply.splitlines()[-1])["status"].startswith("sha256:")
    client.images.remove("compat/in:1")


def test_events(client: Any) -> None:
    began = int(time.time()) - 1
    container = client.containers.create(IMAGE, ["true"], name="eventful")
    container.start()
    container.wait()
    container.remove()
    wanted = {"container": ["eventful"], "type": ["container"]}
    seen = [
        one["Action"]
        for one in client.events(since=began, until=int(time.time()) + 1, decode=True, filters=wanted)
    ]
    assert [one for one in seen if one in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]
    live = client.events(decode=True)
    client.containers.create(IMAGE)
    assert next(live)["Action"] == "create"
    live.close()
