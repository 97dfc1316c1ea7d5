"""HTML from Python, escaped."""

import html


class Markup(str):
  """Text that is HTML already."""


def tag(name: str, /, *children: str, **attributes) -> Markup:
  """An element.

  Args:
    name: of the element.
    *children: `Markup`, or text, which is escaped.
    **attributes: `class_` is `class`, `data_key` is `data-key`. One that is
      None or False is left out; True has no value.
  """
  parts = [name]
  for key, value in attributes.items():
    if value is None or value is False:
      continue
    key = key.rstrip("_").replace("_", "-")
    parts.append(
      key if value is True else f'{key}="{html.escape(str(value), quote=True)}"'
    )
  start = f"<{' '.join(parts)}>"
  if name in ("img", "input", "meta"):
    return Markup(start)
  return Markup(f"{start}{join(*children)}</{name}>")


def join(*children: str) -> Markup:
  """Children one after the other, text escaped."""
  return Markup(
    "".join(
      child if isinstance(child, Markup) else html.escape(child)
      for child in children
    )
  )
