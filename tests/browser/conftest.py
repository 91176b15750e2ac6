"""A real browser, a server with byte ranges, and a results folder to show."""

import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fake_results import FakeResults, write_fake_results
from gatescope.browser.hub import hub
from gatescope.browser.report import report

CHROMIUM = Path("/usr/bin/chromium")


@dataclass
class Opened:
    """A page that was opened, with every request it made and every complaint on its console."""

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def tracks(self, browser: str) -> list[dict]:
        """Return name, range and drawn pixels of each track of the igv.js object called `browser`."""
        return self.page.evaluate(f"({_DESCRIBE_TRACKS})({browser})")

    def values(self, browser: str, track: str, chrom: str, start: int, end: int) -> list[list[float]]:
        """Return [start, end, value] of each item that igv.js reads from a track, without zooming out."""
        return self.page.evaluate(
            f"""async ([name, chr, start, end]) => {{
                const {{track}} = {browser}.trackViews.find((view) => view.track.name === name);
                const items = await track.getFeatures(chr, start, end, 0.1);
                return items.map((item) => [item.start, item.end, item.value]);
            }}""",
            [track, chrom, start, end],
        )


_DESCRIBE_TRACKS = """(browser) => browser.trackViews.filter((view) => view.track.name).map((view) => {
    const canvas = view.viewports[0].canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let drawn = 0;
    for (let at = 3; at < pixels.length; at += 4) drawn += pixels[at] > 0;
    return {name: view.track.name, range: view.track.dataRange, drawn};
})"""


@pytest.fixture(scope="session")
def chromium():
    """Chromium, driven by playwright; without it these tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (test extra)")
    if not CHROMIUM.exists():
        pytest.skip("no /usr/bin/chromium: apt-get install chromium (tests/apt.txt)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chromium) -> Iterator:
    """Return a function that opens an address in a new page."""
    contexts = []

    def opened(address: str) -> Opened:
        context = chromium.new_context(viewport={"width": 1200, "height": 900})
        context.set_default_timeout(90_000)  # machines under load; nothing here asserts a time
        contexts.append(context)
        page = context.new_page()
        result = Opened(page)
        page.on("request", lambda request: result.requests.append(request.url))
        page.on("console", lambda message: result.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: result.complaints.append(f"error: {error}"))
        page.goto(address)
        return result

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def fake(tmp_path_factory) -> FakeResults:
    """A results folder with hub, session and report."""
    made = write_fake_results(tmp_path_factory.mktemp("shown"))
    hub("demo", made.results, made.genome, made.runs)
    report(
        'demo <script>document.title = "bad"</script>',
        made.results,
        made.genome,
        made.runs,
        settings={"boundaries": 3},
    )
    return made


class _RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files with byte ranges, as a genome browser needs them; keep a list of (path, status)."""

    def __init__(self, *arguments, answered: list, **settings):
        self.answered = answered
        super().__init__(*arguments, **settings)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.answered.append((self.path, 404))
            self.send_error(404)
            return
        content = path.read_bytes()
        first, last = self._range(len(content))
        status = 200 if first is None else 206
        body = content if first is None else content[first : last + 1]
        self.answered.append((self.path, status))
        self.send_response(status)
        if first is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _range(self, size: int) -> tuple[int, int] | tuple[None, None]:
        text = self.headers.get("Range", "")
        if not text.startswith("bytes="):
            return None, None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), min(int(last) if last else size - 1, size - 1)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def served():
    """Return a function that serves a folder and gives its address and the list of answers."""
    servers = []

    def serve(folder: Path) -> tuple[str, list]:
        answered: list = []
        handler = functools.partial(_RangeHandler, directory=str(folder), answered=answered)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", answered

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
