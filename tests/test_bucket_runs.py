"""Whole runs in an object store: killed, of several workers, over a bad connection."""

import http.client
import http.server
import itertools
import signal
import threading
import time

import pytest
import stores
from children import child, finish, same
from dying import EPOCHS, experiment
from stores import MOTO, folder_of, s3_server

import jaxmia
from jaxmia.storage import clients, leases
from jaxmia.storage.store import Store

pytestmark = pytest.mark.soak
ONE = {"JAX_NUM_CPU_DEVICES": "1"}
MOMENTS = [
    *(f"object:{n}:before" for n in range(1, 40, 6)),
    *(f"object:{n}:after" for n in range(4, 40, 6)),
    "taking:1:after", "taking:3:before", "records:1:before", "records:1:after", "records:2:after",
    "packed:1:before", "packed:2:after", "chunks:2:before", "chunks:9:after", "summary:1:before",
    "summary:1:after",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        yield url


@pytest.fixture
def variables(server, monkeypatch):
    """What leads to the server, here and in processes of their own."""
    for name, value in stores.environment(server).items():
        monkeypatch.setenv(name, value)
    return stores.environment(server)


@pytest.mark.parametrize("kind", ["memory"])
def test_a_run_in_objects_is_that_of_a_folder(kind, tmp_path, whole):
    folder, lines = folder_of(kind, tmp_path), []
    run = finish(folder)
    same(run, whole)
    assert run.summary["attacks"] == whole.summary["attacks"]
    assert folder.has("report/index.html") and not list(tmp_path.iterdir())
    finish(folder, lines)
    assert lines == ["all 8 models are trained and attacked: nothing to do"]


def ended(running):
    out, err = running.communicate(timeout=600)
    return running.returncode, out, err


@MOTO
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_the_signals_are_the_same(
    moment, tmp_path, home, whole, variables, monkeypatch
):
    place = f"s3://bucket{tmp_path}/run"
    code, _, err = ended(child(place, home, moment=moment, **variables))
    assert code == -signal.SIGKILL, err
    again = finish(place)
    same(again, whole)
    assert again.summary["attacks"] == whole.summary["attacks"]


@MOTO
def test_three_workers_of_which_two_are_killed(tmp_path, home, whole, variables):
    place = f"s3://bucket{tmp_path}/run"

    def workers(moments):
        shares = [("--shard-index", str(i), "--shard-count", "3") for i in range(3)]
        running = [
            child(place, home, *share, block=2, moment=moment, **ONE, **variables)
            for share, moment in zip(shares, moments, strict=True)
        ]
        return [ended(r) for r in running]

    codes = [
        code for code, *_ in workers(["none", f"epoch:{EPOCHS // 2}:before", "records:1:before"])
    ]
    assert codes == [0, -signal.SIGKILL, -signal.SIGKILL]
    assert not Store.there(f"{place}/nothing") and len(Store(place).numbers()) == 2
    outcomes = workers(["none"] * 3)
    assert [code for code, *_ in outcomes] == [0, 0, 0], outcomes
    same(jaxmia.Run.open(place), whole)
    assert jaxmia.Run.open(place).summary["models"] == experiment().models


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before the server; every so many requests are refused, cut off, late or repeated."""

    daemon_threads = True

    def __init__(self, url, every):
        self.to, self.every, self.numbers = url.removeprefix("http://"), every, itertools.count(1)
        self.counts = {}
        super().__init__(("127.0.0.1", 0), Relay)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def relay(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        number = next(self.server.numbers)
        how = ("refused", "cut", "late", "twice")[number // self.server.every % 4]
        how = how if number % self.server.every == 0 else "sound"
        self.server.counts[how] = self.server.counts.get(how, 0) + 1
        if how == "late":
            time.sleep(1)
        if how == "refused":
            answer = (503, [], b"<Error><Code>SlowDown</Code></Error>")
        else:
            for _ in range(2 if how == "twice" else 1):
                answer = self.forwarded(body)
        if how == "cut":  # done, but nobody is told
            self.close_connection = True
            self.connection.shutdown(2)
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = dict((n.lower(), v) for n, v in headers).get("content-length", len(content))
        self.send_header("content-length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def forwarded(self, body):
        connection = http.client.HTTPConnection(self.server.to, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = relay


@MOTO
def test_a_bad_connection_costs_time_and_nothing_else(tmp_path, whole, variables, monkeypatch):
    proxy = Proxy(variables["AWS_ENDPOINT_URL"], every=7)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    run = finish(f"s3://bucket{tmp_path}/run")
    same(run, whole)
    assert {"refused", "cut", "late", "twice"} <= proxy.counts.keys() and proxy.counts["cut"] > 3
    proxy.shutdown()


@MOTO
def test_a_store_that_is_gone_is_one_clear_line(tmp_path, home, variables, monkeypatch):
    monkeypatch.setattr(clients, "RETRIES", {"max_retries": 1, "max_delay": "100ms"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Exception, match="cannot reach s3://bucket/run"):
        finish("s3://bucket/run")
    assert leases.BEAT == 30.0
