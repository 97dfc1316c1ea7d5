"""A headless Chromium, controlled by its DevTools protocol over two pipes.

Pipes need no driver, no port and no library.
"""

import base64
import contextlib
import fcntl
import itertools
import json
import os
from pathlib import Path
import select
import shutil
import signal
import tempfile
import time

import pytest

CHROMIUM = next(
  filter(
    None,
    map(
      shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")
    ),
  ),
  None,
)

needs_chromium = pytest.mark.skipif(
  CHROMIUM is None, reason="no chromium on the PATH"
)

_FLAGS = (
  "--headless",
  "--remote-debugging-pipe",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
)


class Page:
  """One page of a browser.

  Attributes:
    complaints: the page's exceptions, console warnings and errors, and requests
      for anything outside the page.
  """

  def __init__(self, read: int, write: int):
    self._read, self._write = read, write
    self._ids = itertools.count(1)
    self._buffer = b""
    self._session = None
    self.complaints = []
    target = self._call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self._call(
      "Target.attachToTarget", targetId=target, flatten=True
    )["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self._call(f"{domain}.enable")

  def open(self, path: Path, width=1280, height=900, dark=False):
    """Opens a file and waits until it and its images are loaded."""
    self._call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    scheme = {
      "name": "prefers-color-scheme",
      "value": "dark" if dark else "light",
    }
    self._call("Emulation.setEmulatedMedia", features=[scheme])
    self._call("Page.navigate", url=path.resolve().as_uri())
    self.wait("document.readyState === 'complete'")
    self.wait_for_images()

  def wait_for_images(self):
    """Waits until the compared images are loaded."""
    self.wait(
      "[...document.querySelectorAll('.stage img, .lens img')].every("
      "i => i.complete && i.naturalWidth)"
    )

  def wait(self, expression: str, seconds: float = 20):
    """Waits until an expression is true."""
    end = time.monotonic() + seconds
    while not self(expression):
      assert time.monotonic() < end, f"never true: {expression}"
      time.sleep(0.05)

  def __call__(self, expression: str):
    """Evaluates a JavaScript expression, which may be a promise."""
    found = self._call(
      "Runtime.evaluate",
      expression=expression,
      returnByValue=True,
      awaitPromise=True,
    )
    assert "exceptionDetails" not in found, found["exceptionDetails"]
    return found["result"].get("value")

  def accessible(self) -> list[tuple[str, str]]:
    """Returns role and name of all nodes of the accessibility tree."""
    nodes = self._call("Accessibility.getFullAXTree")["nodes"]
    return [
      (node["role"]["value"], node.get("name", {}).get("value", ""))
      for node in nodes
      if not node["ignored"]
    ]

  def press(self, key: str, code: str = ""):
    """Presses and releases a key."""
    number = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
    options = {"key": key, "code": code or key}
    options["windowsVirtualKeyCode"] = number.get(key, ord(key[0]))
    if len(key) == 1:
      options["text"] = key
    self._call("Input.dispatchKeyEvent", type="keyDown", **options)
    self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

  def drag(self, start, end):
    """Drags the mouse from one point of the viewport to another."""
    for kind, (x, y), buttons in (
      ("mousePressed", start, 1),
      ("mouseMoved", end, 1),
      ("mouseReleased", end, 0),
    ):
      self._call(
        "Input.dispatchMouseEvent",
        type=kind,
        x=x,
        y=y,
        button="left",
        buttons=buttons,
        clickCount=1,
      )

  def screenshot(self, path: Path, whole: bool = False):
    """Writes the viewport, or the whole page, as PNG."""
    found = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(found["data"]))

  def _call(self, method: str, **params):
    number = next(self._ids)
    message = {"id": number, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    data = json.dumps(message).encode() + b"\0"
    while data:
      data = data[os.write(self._write, data) :]
    while (answer := self._next()).get("id") != number:
      self._notice(answer)
    assert "error" not in answer, (method, answer["error"])
    return answer["result"]

  def _next(self):
    while b"\0" not in self._buffer:
      ready, _, _ = select.select([self._read], [], [], 60)
      assert ready, "chromium does not answer"
      part = os.read(self._read, 1 << 20)
      assert part, "chromium has exited"
      self._buffer += part
    message, _, self._buffer = self._buffer.partition(b"\0")
    return json.loads(message)

  def _notice(self, event):
    method, params = event.get("method"), event.get("params", {})
    if method == "Runtime.exceptionThrown":
      self.complaints.append(params["exceptionDetails"])
    elif method == "Runtime.consoleAPICalled":
      if params["type"] in ("error", "warning", "assert"):
        self.complaints.append(params["args"])
    elif method == "Log.entryAdded":
      self.complaints.append(params["entry"])
    elif method == "Network.requestWillBeSent":
      address = params["request"]["url"]
      if not address.startswith(("file:", "blob:", "data:", "about:")):
        self.complaints.append(address)


@contextlib.contextmanager
def page():
  """Starts Chromium, yields a page, and kills it afterwards."""
  ends = [*os.pipe(), *os.pipe()]
  # Moves the pipes away from 3 and 4, which Chromium uses.
  high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
  for end in ends:
    os.close(end)
  command_read, command_write, answer_read, answer_write = high
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    quiet = os.path.join(profile, "log")
    child = os.posix_spawn(
      CHROMIUM,
      [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
      {**os.environ, "HOME": profile},
      file_actions=[
        (os.POSIX_SPAWN_DUP2, command_read, 3),
        (os.POSIX_SPAWN_DUP2, answer_write, 4),
        (os.POSIX_SPAWN_OPEN, 2, quiet, os.O_WRONLY | os.O_CREAT, 0o600),
      ],
      setpgroup=0,
    )
    os.close(command_read)
    os.close(answer_write)
    try:
      yield Page(answer_read, command_write)
    finally:
      os.killpg(child, signal.SIGKILL)
      os.waitpid(child, 0)
      os.close(answer_read)
      os.close(command_write)
