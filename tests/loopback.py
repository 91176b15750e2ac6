"""A web server on 127.0.0.1 that misbehaves as real ones do."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback:
    """Serve `files` by their path; `ways` says how.

    A way is any of: no-head, no-length, chunked, redirect, truncated, slow, silent, encoded; a number answers with
    that status; ``(way, n)`` behaves so n times and well from then on. `asked` counts requests by method and path.
    """

    def __init__(self, address: str) -> None:
        self.address, self.files, self.ways = address, {}, {}
        self.asked: Counter[tuple[str, str]] = Counter()

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"

    def way(self, path: str) -> object:
        """Return how a request is answered, and count it down."""
        match self.ways.get(path):
            case (way, n) if n > 0:
                self.ways[path] = (way, n - 1)
                return way
            case (_, _):
                return ""
            case way:
                return way or ""


def _handler(site: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):
            """Keep the terminal for the tests."""

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.lstrip("/").removeprefix("moved/")
            site.asked[self.command, path] += 1
            way = site.way(path)
            if path not in site.files:
                self.send_error(404)
            elif isinstance(way, int):
                self.send_error(way)
            elif way == "no-head" and not with_body:
                self.send_error(403)
            elif way == "redirect" and not self.path.startswith("/moved/"):
                self.send_response(307)
                self.send_header("Location", f"/moved/{path}")
                self.end_headers()
            else:
                self.send_file(site.files[path], way, with_body)

        def send_file(self, content: bytes, way: object, with_body: bool) -> None:
            self.send_response(200)
            if way == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
                content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
            elif way != "no-length":
                self.send_header("Content-Length", str(len(content)))
            if way == "encoded":
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Last-Modified", "Tue, 03 Jun 2014 10:00:00 GMT")
            self.end_headers()
            if with_body:
                self.send_body(content, way)

        def send_body(self, content: bytes, way: object) -> None:
            half = len(content) // 2
            self.wfile.write(content[:half])
            self.wfile.flush()
            if way == "slow":
                time.sleep(0.5)
            if way == "silent":
                stop.wait(20)
            if way not in ("truncated", "silent"):
                self.wfile.write(content[half:])

    return Handler


stop = threading.Event()


@contextmanager
def serving() -> Iterator[Loopback]:
    """Run a server until the block ends."""
    stop.clear()
    site = Loopback("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
