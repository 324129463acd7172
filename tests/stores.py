"""Places for a run folder: a folder here, objects in memory, and servers of S3 and of GCS.

S3's is moto's. Google's interface is played by a server of our own, since none that is at hand
looks at generations: `Generations` answers the requests of TensorStore's driver as Google's
documentation of the JSON interface says.
"""

import contextlib
import http.server
import json
import os
import threading
from importlib.util import find_spec
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from jaxmia.storage.bucket import Bucket
from jaxmia.storage.local import LocalFolder
from jaxmia.storage.urls import folder_at

MOTO = pytest.mark.skipif(
    not find_spec("moto") or not find_spec("flask_cors"),
    reason="needs pip install 'moto[s3]' flask flask-cors",
)
PLACES = ["local", "memory", "gs", pytest.param("s3", marks=MOTO)]


def environment(url):
    """What leads to a server of a test's own."""
    return {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip


@contextlib.contextmanager
def s3_server():
    """The address of an S3 server in this process, with one bucket called `bucket`.

    Moto looks whether an object is there and writes it in two steps, which on a busy machine lets
    two writers create one: here they come one after the other, as in S3.
    """
    import boto3
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    put, lock = S3Response.put_object, threading.Lock()

    def put_alone(self):
        with lock:
            return put(self)

    S3Response.put_object = put_alone
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="bucket")
    try:
        yield url
    finally:
        server.stop()
        S3Response.put_object = put


class Generations(http.server.BaseHTTPRequestHandler):
    """Objects with generations, written and removed on the condition of one (0: there is none)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Says nothing."""

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content)

    def parse(self):
        """The object's name, the parameters, and what the store has of it."""
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        name = unquote(parts.path.partition("/o/")[2]) or query.get("name", "")
        content, generation = self.server.objects.get(name, (None, 0))
        return name, query, content, generation

    def do_GET(self):
        name, query, content, generation = self.parse()
        if not name:
            first, end = query.get("startOffset", ""), query.get("endOffset", "\U0010ffff")
            names = sorted(n for n in self.server.objects if first <= n < end)
            items = [{"name": n, "size": str(len(self.server.objects[n][0]))} for n in names]
            self.answer(200, json.dumps({"items": items}).encode())
        elif content is None:
            self.answer(404)
        else:
            self.answer(200, content, X_Goog_Generation=generation)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.alone:
            name, query, _, generation = self.parse()
            if query.get("ifGenerationMatch", str(generation)) != str(generation):
                self.answer(412)
                return
            self.server.count += 1
            self.server.objects[name] = body, self.server.count
            facts = {"name": name, "generation": str(self.server.count), "size": str(len(body))}
            self.answer(200, json.dumps(facts).encode())

    def do_DELETE(self):
        with self.server.alone:
            name, query, content, generation = self.parse()
            if query.get("ifGenerationMatch", str(generation)) != str(generation):
                self.answer(412)
                return
            self.server.objects.pop(name, None)
            self.answer(404 if content is None else 204)


@contextlib.contextmanager
def gcs_server():
    """The address of such a server, in this process."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Generations)
    server.daemon_threads, server.alone = True, threading.Lock()
    server.objects, server.count = {}, 100
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def folder_of(kind, path, url=None):
    """An empty folder of one kind, named after a path."""
    if kind == "local":
        return LocalFolder(path / "run")
    if kind == "s3":
        os.environ.update(environment(url))  # under a fixture that restores it
        return folder_at(f"s3://bucket{path}/run", "run")
    if kind == "gs":
        os.environ |= {"STORAGE_EMULATOR_HOST": url, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "test"}
        return folder_at(f"gs://bucket{path}/run", "run")
    import tensorstore as ts

    store = ts.KvStore.open({"driver": "memory", "path": "run/"}).result()
    return Bucket(store, f"memory:/{path}/run")
