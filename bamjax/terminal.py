"""Printing that ends no work, whatever stdout and stderr lead to."""

import codecs
import contextlib
import os
import re
import sys
from typing import Any
from typing import TextIO

# What old encodings, such as those of Windows consoles, may lack.
_PLAIN = {"×": "x", "→": "->", "…": "...", "–": "-", "−": "-", "·": "|"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RAW = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # but \n, \r, \t


def _escape(match: re.Match[str]) -> str:
  return match[0].encode("unicode_escape").decode()


def plain(text: object) -> str:
  """Returns a text in one line, control characters escaped: `\\n`, `\\x1b`.

  A file's name may contain any. Printed raw, they would fake lines, move the
  cursor or change colors.
  """
  return _CONTROL.sub(_escape, str(text))


def counted(count: int, noun: str) -> str:
  """Returns "1 image", "2 images", "12,000 images"."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _spell(error: UnicodeError) -> tuple[str, int]:
  """Replaces characters that an encoding lacks, or that are not text."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  letters = error.object[error.start : error.end]
  spelt = (
    _PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode()
    for c in letters
  )
  return "".join(spelt), error.end


class _Lasting:
  """A stream that discards everything once it can't be written."""

  def __init__(self, stream: TextIO, name: str):
    self.warns = True  # once, if stdout is lost
    self._stream = stream
    self._name = name
    self._lost = False

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes, as long as somebody reads."""
    if not self._lost:
      # stderr has the progress bars, which move the cursor.
      if self._name == "stdout":
        text = _RAW.sub(_escape, text)
      try:
        return self._stream.write(text)
      except OSError as error:
        self._lose(error)
    return len(text)

  def flush(self) -> None:
    """Flushes, as long as somebody reads."""
    if not self._lost:
      try:
        self._stream.flush()
      except OSError as error:
        self._lose(error)

  def _lose(self, error: OSError) -> None:
    self._lost = True
    # The buffer is written at exit, and libraries bypass this object.
    with contextlib.suppress(OSError, ValueError):
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, self._stream.fileno())
      os.close(null)
    if self._name == "stdout" and self.warns:
      print(
        f"warning: stdout is closed ({error.strerror}); continuing without it",
        file=sys.stderr,
      )


def make_lasting(warn: bool = True) -> None:
  """Makes stdout and stderr accept any text, and outlive their readers.

  A closed pipe, a full disk, a console without ×, or a file name that is not
  UTF-8 does not end the process.

  Args:
    warn: whether to print a warning when stdout can't be written any more.
  """
  codecs.register_error("bamjax.spell", _spell)
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None:  # closed by the parent process
      stream = open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="bamjax.spell")
    if not isinstance(stream, _Lasting):
      stream = _Lasting(stream, name)
    stream.warns = warn
    setattr(sys, name, stream)
