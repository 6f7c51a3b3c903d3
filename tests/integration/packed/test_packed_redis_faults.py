"""A Redis that is away, slow, empty, full, guarded or in pieces: an error that names it, soon, and no harm after."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from feast import FeatureStore

from feature_repo.packed import packed_store
from shoprank.errors import FeatureStoreError
from tests.integration.packed_world import WIDE, Place, World, applied, rows_of, users, versions_in
from tests.redis_server import RedisServer, free_port

IDS = users(2_000)
TIMEOUT = 0.5
MARGIN = 1.0
"""Seconds beyond the timeout in which an error must be there."""


def place_on(root: Path, url: str, **options: object) -> Place:
    """A place on a Redis by its URL."""
    online = {"backend": "redis", "connection_string": url, "timeout_seconds": TIMEOUT, "path": "unused"}
    return Place(root, {**online, **options})


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may harm."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts a server with options; it ends with the test."""
    servers = []

    def start(*options: str) -> RedisServer:
        servers.append(RedisServer(tmp_path, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def world(own_server: RedisServer, tmp_path: Path) -> Iterator[World]:
    """A world on that server, with version 1 of all rows."""
    world = World.at(place_on(tmp_path, own_server.url))
    world.load(rows_of(1, IDS))
    yield world
    world.store.close()


def refusal(world: World, within: float = TIMEOUT + MARGIN) -> str:
    """What reading and writing say, which must be an error in that time."""
    said = []
    for attempt in (lambda: world.read(IDS), lambda: world.put(rows_of(2, IDS))):
        begun = time.monotonic()
        with pytest.raises(FeatureStoreError) as caught:
            attempt()
        assert time.monotonic() - begun < within
        said.append(str(caught.value))
    return " | ".join(said)


def test_a_server_that_is_away_is_named_at_once_without_its_password(tmp_path: Path) -> None:
    port = free_port()
    for connection in (
        f"redis://someone:secret@127.0.0.1:{port}/0",
        f"redis://127.0.0.1:{port}/0?password=secret&username=someone",
        f"127.0.0.1:{port},password=secret,db=0",
    ):
        said = refusal(World.at(place_on(tmp_path, connection)))
        assert f"127.0.0.1:{port}" in said
        assert "secret" not in said


def test_a_slow_server_is_an_error_after_the_timeout_and_serves_again_when_it_is_back(
    own_server: RedisServer, world: World, tmp_path: Path
) -> None:
    own_server.pause()
    begun = time.monotonic()
    assert "no answer within 0.5 s" in refusal(world)
    assert "no answer within 0.5 s" in refusal(World.at(place_on(tmp_path, own_server.url)))
    assert time.monotonic() - begun > 4 * TIMEOUT * 0.9
    own_server.resume()
    assert versions_in(world.read(IDS)) <= {1, 2}
    world.put(rows_of(3, IDS))
    assert versions_in(world.read(IDS)) == {3}


def test_many_readers_of_a_slow_server_wait_no_longer_than_one(own_server: RedisServer, world: World) -> None:
    own_server.pause()
    waits: list[float] = []

    def read() -> None:
        begun = time.monotonic()
        with pytest.raises(FeatureStoreError):
            world.read(IDS[:5])
        waits.append(time.monotonic() - begun)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waits) == 16
    assert max(waits) < TIMEOUT + MARGIN


def test_a_server_restarted_empty_has_no_rows_and_takes_new_ones_with_their_layout(
    own_server: RedisServer, world: World, tmp_path: Path
) -> None:
    own_server.stop()
    refusal(world)
    own_server.start()
    assert not world.read(IDS).found.any()
    world.load(rows_of(1, IDS))
    assert versions_in(world.read(IDS)) == {1}
    newcomer = World.at(place_on(tmp_path, own_server.url))
    assert versions_in(newcomer.read(IDS)) == {1}
    assert newcomer.read(IDS).found.all()
    newcomer.store.close()


def test_a_connection_that_the_server_closed_is_made_anew_unnoticed(own_server: RedisServer, world: World) -> None:
    for version in (2, 3):
        own_server.client().client_kill_filter(_type="normal", skipme=True)
        assert versions_in(world.read(IDS)) == {version - 1}
        own_server.client().client_kill_filter(_type="normal", skipme=True)
        world.load(rows_of(version, IDS))
    assert versions_in(world.read(IDS)) == {3}


def test_a_wrong_password_is_an_error_that_tells_neither_password(
    started: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = started("--requirepass", "right-word")
    for word in (":wrong-word@", ""):
        said = refusal(World.at(place_on(tmp_path, f"redis://{word}127.0.0.1:{server.port}/0")))
        assert f"127.0.0.1:{server.port}" in said
        assert "right-word" not in said
        assert "wrong-word" not in said
    right = World.at(place_on(tmp_path, f"redis://:right-word@127.0.0.1:{server.port}/0"))
    right.load(rows_of(1, IDS))
    assert versions_in(right.read(IDS)) == {1}
    right.store.close()


def test_a_server_that_is_full_says_so_and_the_write_can_be_made_again_with_room(
    own_server: RedisServer, world: World
) -> None:
    everyone = users(20_000)
    client = own_server.client()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 1_000_000)
    with pytest.raises(FeatureStoreError, match="maxmemory") as caught:
        world.load(rows_of(2, everyone))
    assert f"127.0.0.1:{own_server.port}" in str(caught.value)
    assert "does not answer" not in str(caught.value)
    versions = world.version_of(everyone)
    assert set(versions) == {1, 2, None} or set(versions) == {2, None}
    assert versions_in(world.read(everyone)) <= {1, 2}
    client.config_set("maxmemory", 0)
    world.load(rows_of(2, everyone))
    assert world.version_of(everyone) == [2] * len(everyone)


def test_rows_live_as_long_as_they_are_told_and_writing_them_again_renews_them(
    own_server: RedisServer, tmp_path: Path
) -> None:
    world = World.at(place_on(tmp_path, own_server.url, key_ttl_seconds=2))
    world.put(rows_of(1, IDS[:2]))
    time.sleep(1.2)
    world.put(rows_of(1, IDS[:1]))
    time.sleep(1.2)
    assert world.version_of(IDS[:2]) == [1, None]
    time.sleep(1.2)
    assert world.version_of(IDS[:2]) == [None, None]
    world.put(rows_of(1, IDS[:2]))
    assert world.version_of(IDS[:2]) == [1, 1]
    world.store.close()


# TLS


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with an authority's certificate `ca.pem`, and a server's `server.pem` and `server.key`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=a test's authority"
    )
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    return tmp_path


def test_tls_with_an_authority_and_a_password_by_url_serves_and_without_either_is_refused(
    started: Callable[..., RedisServer], certificates: Path, tmp_path: Path
) -> None:
    port = free_port()
    files = {"cert-file": "server.pem", "key-file": "server.key", "ca-cert-file": "ca.pem"}
    tls = [word for name, file in files.items() for word in (f"--tls-{name}", str(certificates / file))]
    started("--tls-port", str(port), *tls, "--tls-auth-clients", "no", "--requirepass", "right-word")
    authority = f"?ssl_ca_certs={certificates / 'ca.pem'}"
    world = World.at(place_on(tmp_path, f"rediss://:right-word@127.0.0.1:{port}/0{authority}"))
    world.load(rows_of(1, IDS))
    assert versions_in(world.read(IDS)) == {1}
    world.store.close()
    for url, why in (
        (f"rediss://:right-word@127.0.0.1:{port}/0", "certificate verify failed"),
        (f"rediss://:wrong-word@127.0.0.1:{port}/0{authority}", "invalid username-password"),
        (f"rediss://:right-word@127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'nowhere.pem'}", ""),
        (f"redis://:right-word@127.0.0.1:{port}/0", ""),
    ):
        said = refusal(World.at(place_on(tmp_path, url)))
        assert f"127.0.0.1:{port}" in said
        assert why in said
        assert "-word" not in said


# A cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three masters that share the slots."""
    nodes = []
    for _ in range(3):
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1000")
        nodes.append(RedisServer(tmp_path_factory.mktemp("node"), *bus))
    addresses = [f"127.0.0.1:{node.port}" for node in nodes]
    command = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    until(lambda: all_ok(nodes))
    yield nodes
    for node in nodes:
        node.stop()


def all_ok(nodes: list[RedisServer]) -> bool:
    """Whether every node says that the cluster serves all slots."""
    return all(node.client().cluster("INFO")["cluster_state"] == "ok" for node in nodes)


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def on_cluster(cluster: list[RedisServer], tmp_path: Path) -> Iterator[FeatureStore]:
    """Feast's store on the cluster, with two views of the users applied and loaded."""
    urls = f"redis://127.0.0.1:{cluster[0].port}/0"
    place = place_on(tmp_path, urls, redis_type="redis_cluster")
    store = applied(place, place.view(), place.view(WIDE, "likes"))
    for name in ("users", "likes"):
        world_on(store, name).load(rows_of(1, IDS))
    yield store
    packed_store(store).close()


def world_on(store: FeatureStore, name: str) -> World:
    """The world of one view of Feast's store."""
    return World(store.config, packed_store(store), store.get_feature_view(name))


def test_a_cluster_serves_what_was_written_over_all_its_nodes(
    on_cluster: FeatureStore, cluster: list[RedisServer]
) -> None:
    held = [node.client().dbsize() for node in cluster]
    assert sum(held) >= 2 * len(IDS)
    assert min(held) > len(IDS) / 4
    world = world_on(on_cluster, "users")
    assert world.version_of([*IDS, "nobody"]) == [1] * len(IDS) + [None]
    world.load(rows_of(2, IDS[:100]))
    answer = on_cluster.get_online_features(
        ["users:f0", "likes:count"], [{"user_id": u} for u in (IDS[0], "nobody", IDS[200])]
    ).to_dict()
    assert (answer["f0"], answer["count"]) == ([2.0, None, 1.0], [1, None, 1])


def test_rows_of_one_user_lie_in_one_slot_of_the_cluster_whatever_the_view(
    on_cluster: FeatureStore, cluster: list[RedisServer]
) -> None:
    slots = set()
    for user in IDS[:50]:
        keys = [key for node in cluster for key in node.client().keys(f"*{user}*")]
        assert len(keys) == 2
        mine = {cluster[0].client().cluster("KEYSLOT", key) for key in keys}
        assert len(mine) == 1
        slots |= mine
    assert len(slots) > 40


def test_taking_a_view_of_a_cluster_down_leaves_the_other(on_cluster: FeatureStore, cluster: list[RedisServer]) -> None:
    users_, likes = world_on(on_cluster, "users"), world_on(on_cluster, "likes")
    on_cluster.delete_feature_view("likes")
    users_.store.update(users_.config, [likes.view], [users_.view], [], [], partial=False)
    assert not likes.read(IDS).found.any()
    assert versions_in(users_.read(IDS)) == {2} or users_.read(IDS).found.all()
    on_cluster.teardown()
    rows = [key for node in cluster for key in node.client().keys("*u0000*")]
    assert rows == []


def test_a_cluster_that_lost_a_node_is_an_error_soon_and_serves_again_when_it_is_back(
    on_cluster: FeatureStore, cluster: list[RedisServer]
) -> None:
    world = world_on(on_cluster, "users")
    cluster[1].stop()
    refusal(world, within=10)
    cluster[1].start()
    until(lambda: all_ok(cluster))
    world.load(rows_of(3, IDS))
    assert world.version_of(IDS) == [3] * len(IDS)


def test_a_cluster_node_that_hangs_is_an_error_soon(on_cluster: FeatureStore, cluster: list[RedisServer]) -> None:
    world = world_on(on_cluster, "users")
    cluster[1].pause()
    refusal(world, within=10)
    cluster[1].resume()
    until(lambda: all_ok(cluster))
    world.load(rows_of(4, IDS))
    assert world.version_of(IDS) == [4] * len(IDS)


def test_a_cluster_that_is_away_is_named(tmp_path: Path) -> None:
    port = free_port()
    for connection in (f"redis://:secret@127.0.0.1:{port}", f"127.0.0.1:{port},password=secret"):
        said = refusal(World.at(place_on(tmp_path, connection, redis_type="redis_cluster")), within=10)
        assert f"127.0.0.1:{port}" in said
        assert "secret" not in said
