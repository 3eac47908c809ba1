"""Open every page of build/site in headless Chromium, without network, and report what is wrong.

Chromium is controlled through a pair of pipes, so nothing but Chromium is needed.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SITE = Path(__file__).parents[2] / "build" / "site"
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
SLOW = 2000  # milliseconds until a page is loaded

# Chromium reads commands from descriptor 3 and writes answers to 4.
LAUNCH = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])"""

# Returns what is wrong with the page. Pictures are loaded first, wherever they are on the page.
CHECK = """(async () => {
  const wrong = [];
  const took = performance.getEntriesByType("navigation")[0].duration;
  for (const image of document.images) image.loading = "eager";
  const loaded = [...document.images].map((image) =>
    image.decode().catch(() => wrong.push("does not load: " + image.src)));
  await Promise.all(loaded);
  for (const math of document.querySelectorAll("math")) {
    // What is folded away or on no slide has no size.
    if (math.checkVisibility() && math.getBoundingClientRect().height < 4)
      wrong.push("flat equation: " + math.textContent);
  }
  for (const input of document.querySelectorAll(".demo input")) {
    const picture = input.closest(".demo").querySelector("svg");
    const before = picture.innerHTML;
    input.value = input.max;
    input.dispatchEvent(new Event("input"));
    if (picture.innerHTML === before) wrong.push("a slider changes nothing");
  }
  const demos = document.querySelectorAll("[data-demo]").length;
  if (demos !== document.querySelectorAll(".demo svg").length) wrong.push("a picture is missing");
  // A phone zooms out of a page that is too wide, and then reports a wide window.
  const { scrollWidth: wide, clientWidth: room } = document.documentElement;
  if (wide > room + 1) wrong.push(`is ${wide} pixels wide, the window ${room}`);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shade = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
  if ((shade[0] + shade[1] + shade[2] < 384) !== dark) wrong.push("background " + shade);
  return { took, wrong };
})()"""


class Browser:
    """Chromium, as commands and events of its DevTools protocol."""

    def __init__(self, profile: str) -> None:
        name = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
        if name is None:
            raise FileNotFoundError("Chromium was not found: install it (Debian: chromium)")
        theirs_in, self.out = os.pipe()
        self.into, theirs_out = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
        pipes = (theirs_in, theirs_out)
        command = [sys.executable, "-c", LAUNCH, *map(str, pipes), name, *options]
        self.process = subprocess.Popen(command, pass_fds=pipes, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.numbers = itertools.count(1)
        self.messages = self._messages()
        self.events: list[dict] = []
        self.session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def _messages(self) -> Iterator[dict]:
        rest = b""
        while piece := os.read(self.into, 1 << 16):
            *whole, rest = (rest + piece).split(b"\0")
            yield from map(json.loads, whole)

    def send(self, method: str, **parameters: object) -> dict:
        """The result of a command; events that arrive meanwhile are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        for answer in self.messages:
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)
        raise RuntimeError("Chromium has ended")

    def open(self, page: Path) -> list[str]:
        """What is wrong with a page."""
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(next(self.messages))
        answer = self.send(
            "Runtime.evaluate", expression=CHECK, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            return [f"the check failed: {answer['exceptionDetails']}"]
        found = answer["result"]["value"]
        wrong = list(found["wrong"])
        if found["took"] > SLOW:
            wrong.append(f"takes {found['took']:.0f} ms")
        return wrong + [fault for event in self.events if (fault := complaint(event))]


def complaint(event: dict) -> str:
    """What an event says is wrong, "" if nothing."""
    parameters = event.get("params", {})
    match event["method"]:
        case "Runtime.exceptionThrown":
            return f"exception: {parameters['exceptionDetails'].get('exception')}"
        case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "assert"):
            return f"console: {parameters['args']}"
        case "Log.entryAdded" if parameters["entry"]["level"] == "error":
            return f"log: {parameters['entry']['text']} {parameters['entry'].get('url', '')}"
        case "Network.requestWillBeSent" if parameters["request"]["url"].startswith("http"):
            return f"asks the network for {parameters['request']['url']}"
    return ""


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with an empty profile, ended afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(profile)
        try:
            yield opened
        finally:
            opened.process.terminate()
            opened.process.wait()


def main() -> int:
    """Open every page as on a desktop and, dark, as on a phone. Returns 1 if one has a fault."""
    # The theme's templates in _static are no pages.
    pages = [page for page in sorted(SITE.glob("**/*.html")) if "_static" not in page.parts]
    faults = 0
    with browser() as chromium:
        for name, size, scheme in (("desktop", DESKTOP, "light"), ("phone, dark", PHONE, "dark")):
            chromium.send("Emulation.setDeviceMetricsOverride", **size)
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            chromium.send("Emulation.setEmulatedMedia", features=media)
            for page in pages:
                for fault in chromium.open(page):
                    faults += 1
                    print(f"{page.relative_to(SITE)} ({name}): {fault}")
    print(f"{len(pages)} pages opened twice, {faults} faults")
    return 1 if faults or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
