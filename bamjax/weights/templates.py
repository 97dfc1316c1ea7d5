"""Names of layers with numbers in them, matched and written by templates.

The placeholders `{i}`, `{i+1}` and `{2*i}` stand for a number computed from i:
"body.{i}.conv{k+1}" matches "body.3.conv1" with i = 3 and k = 0, and writes
that name from these numbers. Pairs of regular expressions would not be simpler.
Names are translated in both directions (to find a layer's tensor, and to
recognise a network by its tensors), which takes two expressions a row, and
regular expressions can't compute the offsets and factors.
"""

from collections.abc import Mapping
import functools
import re

_PLACEHOLDER = re.compile(r"\{(?:(\d+)\*)?([a-z]+)(?:\+(\d+))?\}")


def fill(template: str, values: Mapping[str, int]) -> str:
  """Puts numbers in a template: fill("c{i+1}", {"i": 2}) is "c3"."""

  def number(match: re.Match[str]) -> str:
    factor, name, offset = match.groups()
    return str(int(factor or 1) * values[name] + int(offset or 0))

  return _PLACEHOLDER.sub(number, template)


def solve(template: str, name: str) -> dict[str, int] | None:
  """Inverts `fill`: solve("c{i+1}", "c3") is {"i": 2}.

  Returns:
    The numbers, or None if the name does not fit the template.
  """
  if not (match := _pattern(template).fullmatch(name)):
    return None
  values = {}
  for factor, letter, offset in _PLACEHOLDER.findall(template):
    number = int(match[letter]) - int(offset or 0)
    values[letter], rest = divmod(number, int(factor or 1))
    if rest or number < 0:
      return None
  return values


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
  """Regular expression of a template; captures each number by its letter."""
  parts, end = [], 0
  for match in _PLACEHOLDER.finditer(template):
    # No published number has more than nine digits; int() is slow for many.
    number = rf"(?P<{match[2]}>\d{{1,9}})"
    parts += [re.escape(template[end : match.start()]), number]
    end = match.end()
  return re.compile("".join([*parts, re.escape(template[end:])]))
