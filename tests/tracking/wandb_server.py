"""A real HTTP server on this machine in W&B's place: it keeps what wandb sends, or is dead.

wandb's own command reads the files of a run and sends them, so what arrives here was read by it.
"""

import contextlib
import gzip
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAKE_KEY = "0123456789abcdef0123456789abcdef01234567"


class _Http(ThreadingHTTPServer):
    block_on_close = False  # wandb keeps connections open

    def handle_error(self, request, client_address):
        """Say nothing: wandb cuts its connections when it ends."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply({})

    def do_PUT(self):
        self.server.wandb.files[self.path.removeprefix("/upload/")] = self.body()
        self.reply({})

    def do_POST(self):
        body, wandb = self.body(), self.server.wandb
        wandb.sent.append(body)
        wandb.paths.append(self.path)
        if wandb.status != 200:
            self.reply({"errors": [{"message": "refused"}]}, wandb.status)
            return
        if self.path == "/graphql":
            self.reply({"data": wandb.query(json.loads(body))})
            return
        if self.path.endswith("/file_stream"):
            wandb.stream(self.path.split("/")[-2], json.loads(body))
        self.reply({})

    def body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(body) if is_packed else body

    def reply(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class WandbServer:
    """Serves on a free port of the loopback address; knows what ``wandb sync`` asks for."""

    def __init__(self):
        self.status = 200
        """Of the answers to what is posted."""
        self.runs = {}
        """Run id -> variables of its upserts, merged."""
        self.history = {}
        """Run id -> step -> row."""
        self.summary, self.files, self.artifacts, self.views, self.sent = {}, {}, [], [], []
        """Also: summary of each run, uploaded files, artifacts and views, and all bodies."""
        self.paths = []
        """Of all that was posted."""
        self.http = _Http(("127.0.0.1", 0), _Handler)
        self.http.wandb = self
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def query(self, query):
        (name,) = re.findall(r"^\s*(?:query|mutation) (\w+)", query["query"])
        answer = getattr(self, f"_{name}", None)
        return answer(query.get("variables") or {}) if answer else {}

    def _Viewer(self, told):
        teams = {"edges": []}
        viewer = {"id": "VXNl", "entity": "me", "username": "me", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": teams}}

    def _GetDefaultEntity(self, told):
        return {"viewer": {"id": "VXNl", "entity": "me"}}

    def _UpsertView2(self, told):
        self.views.append(told)
        return {"upsertView": {"view": {"id": "Vmll", "name": told["name"]}, "inserted": True}}

    def _ServerFeaturesQuery(self, told):
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, told):
        run = told["name"]
        if run not in self.runs:
            return {"model": None}
        rows = [json.dumps(row) for _, row in sorted(self.history.get(run, {}).items())]
        bucket = {
            **{"id": "UnVu", "name": run, "displayName": run, "logLineCount": 0, "tags": []},
            **{"historyLineCount": len(rows), "eventsLineCount": 0, "notes": None},
            **{"historyTail": json.dumps(rows[-1:]), "eventsTail": "[]"},
            **{"config": self.runs[run]["config"], "wandbConfig": '{"t": 1}'},
            "summaryMetrics": json.dumps(self.summary.get(run, {})),
        }
        entity = {"id": "RW50", "name": "me"}
        return {
            "model": {"id": "UHJv", "name": told["project"], "entity": entity, "bucket": bucket}
        }

    def _UpsertBucket(self, told):
        known = self.runs.setdefault(told["name"], {})
        known.update({name: value for name, value in told.items() if value is not None})
        entity = {"id": "RW50", "name": told.get("entity") or "me"}
        project = {"id": "UHJv", "name": told["project"], "entity": entity}
        bucket = {
            **{"id": "UnVu", "name": told["name"], "displayName": told.get("displayName")},
            **{"description": None, "config": told.get("config"), "sweepName": None},
            **{"project": project, "historyLineCount": 0},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _CreateRunFiles(self, told):
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in told["files"]]
        return {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": files}}

    def _CreateArtifact(self, told):
        self.artifacts.append(told["input"])
        artifact = {
            "id": "QXJ0",
            "state": "COMMITTED",
            "artifactSequence": {"latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def stream(self, run, body):
        files = body.get("files") or {}
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            row = json.loads(line)
            self.history.setdefault(run, {})[row["_step"]] = row
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary[run] = json.loads(line)

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@contextlib.contextmanager
def hanging_server():
    """Give the address of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def refusing_server():
    """Give an address that refuses every connection."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
