"""Chromium for tests, driven over WebDriver's HTTP. Debian's chromium and chromium-driver, and the standard library."""

import base64
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")


class Browser:
    """Chromium, driven over WebDriver's HTTP."""

    def __init__(self, width=1280, height=900):
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        wait_until(self.answers)
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                            f"--window-size={width},{height}", "--hide-scrollbars", "--force-device-scale-factor=1"]}
        found = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = f"/session/{found['sessionId']}"
        self.ask("POST", f"{self.session}/timeouts", {"script": 60000, "pageLoad": 60000})

    def answers(self):
        try:
            return self.ask("GET", "/status")["ready"]
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"},
                                         method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as reply:
                return json.loads(reply.read())["value"]
        except urllib.error.HTTPError as problem:
            raise AssertionError(problem.read().decode()[:2000]) from None

    def open(self, url):
        self.ask("POST", f"{self.session}/url", {"url": str(url)})

    def run(self, script, *arguments):
        return self.ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for_charts(self):
        """Until the last one is drawn."""
        wait_until(lambda: self.run("return document.documentElement.dataset.drawn;") == "all")

    def log(self):
        return self.ask("POST", f"{self.session}/se/log", {"type": "browser"})

    def size(self, width, height):
        self.ask("POST", f"{self.session}/window/rect", {"width": width, "height": height})

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.ask("GET", f"{self.session}/screenshot")))

    def close(self):
        try:
            self.ask("DELETE", self.session)
        finally:
            self.driver.kill()
            self.driver.wait()

    def chart(self, name):
        """Traces of a chart as plain lists; plotly keeps some as typed arrays."""
        return self.run(
            """const place = document.getElementById(arguments[0]);
            if (!place.classList.contains('js-plotly-plot')) return null;
            const plain = (values) => (values ? Array.from(values) : null);
            return place.data.map((trace) => ({name: trace.csv ?? trace.name ?? '', x: plain(trace.x), y: plain(trace.y),
              high: plain(trace.error_y && trace.error_y.array)}));""", name)
