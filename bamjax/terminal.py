"""Printing that costs no work, whatever stdout and stderr lead to."""

import codecs
import contextlib
import os
import re
import sys

# What an old encoding, as a console's on Windows, may not have.
_PLAIN = {"×": "x", "→": "->", "…": "...", "–": "-", "−": "-", "·": "|"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RAW = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # but \n, \r, \t


def _escape(found: re.Match) -> str:
  return found[0].encode("unicode_escape").decode()


def plain(text: object) -> str:
  """A text in one line, its control characters spelt, as `\\n` and `\\x1b`.

  A file's name may have any: raw, they would feign lines, and move or color
  what a terminal shows.
  """
  return _CONTROL.sub(_escape, str(text))


def _spell(error: UnicodeError) -> tuple[str, int]:
  """Spells what an encoding does not have, or a name that is no text."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  letters = error.object[error.start : error.end]
  spelt = (
    _PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode()
    for c in letters
  )
  return "".join(spelt), error.end


class _Lasting:
  """A stream that, once it cannot be written, takes everything and is quiet."""

  def __init__(self, stream, name: str):
    self._stream = stream
    self._name = name
    self._lost = False

  def __getattr__(self, name):
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes, as far as there is who reads."""
    if not self._lost:
      if self._name == "stdout":  # stderr has the bars, which move the cursor
        text = _RAW.sub(_escape, text)
      try:
        return self._stream.write(text)
      except OSError as error:
        self._lose(error)
    return len(text)

  def flush(self) -> None:
    """Flushes, as far as there is who reads."""
    if not self._lost:
      try:
        self._stream.flush()
      except OSError as error:
        self._lose(error)

  def _lose(self, error: OSError) -> None:
    self._lost = True
    # What is buffered is written at exit, and by libraries not through us.
    with contextlib.suppress(OSError, ValueError):
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, self._stream.fileno())
      os.close(null)
    if self._name == "stdout":
      print(
        f"warning: stdout is closed ({error.strerror}): the work goes on"
        " without it",
        file=sys.stderr,
      )


def make_lasting() -> None:
  """Makes stdout and stderr take any text, and outlive who reads them.

  A pipe that is closed, a full disk, a console that has no ×, a file's name
  that is no UTF-8: none ends the script.
  """
  codecs.register_error("bamjax.spell", _spell)
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None:  # closed by whoever started us
      stream = open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="bamjax.spell")
    if not isinstance(stream, _Lasting):
      stream = _Lasting(stream, name)
    setattr(sys, name, stream)
