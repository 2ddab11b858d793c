"""A real HTTP server on this machine that answers as an OpenAI-compatible endpoint, or misbehaves."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(text="It is 5.", tokens=3):
    """Return the body of an endpoint's response to a chat request.

    Args:
        text: content of the message.
        tokens: number of completion tokens.
    """
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"completion_tokens": tokens, "prompt_tokens": 7}}


class EndpointServer:
    """A server on a free port of the loopback address; a context manager that starts and stops it.

    Attributes:
        seen: time, headers and body of every request, in order.
        most_inside: largest number of requests that were in progress at the same time.

    Args:
        script: called with the number of the request, from 0, and its body; returns (status, headers,
            body), or None to cut the connection in the middle of the body. A body is bytes, an object
            to send as JSON, or an iterator of bytes, which are sent one by one as parts of a body whose
            announced length is never reached.
    """

    def __init__(self, script):
        self.script = script
        self.seen = []
        self.lock = threading.Lock()
        self.num_inside = self.most_inside = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.serve(self, {"path": self.path})

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                server.serve(self, {"path": self.path, **json.loads(self.rfile.read(length))})

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # of the 5 by default, connections of a busy machine get lost

        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def serve(self, handler, body):
        """Record a request and send the response of the script."""
        with self.lock:
            number = len(self.seen)
            self.seen.append({"time": time.monotonic(), "headers": dict(handler.headers), **body})
            self.num_inside += 1
            self.most_inside = max(self.most_inside, self.num_inside)
        reply = self.script(number, body)
        with self.lock:
            self.num_inside -= 1
        with contextlib.suppress(ConnectionError):  # the client may have closed the connection
            self.write(handler, *(reply or (200, {}, iter([b'{"choices": [']))))

    def write(self, handler, status, headers, content):
        """Send a response; close the connection after one whose content is an iterator."""
        if is_whole := not hasattr(content, "__next__"):
            content = [content if isinstance(content, bytes) else json.dumps(content).encode()]
        length = len(content[0]) if is_whole else 1_000_000
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for piece in content:
            handler.wfile.write(piece)
        handler.close_connection = handler.close_connection or not is_whole

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
