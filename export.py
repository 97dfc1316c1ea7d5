"""The same as `bamjax export`; see `python export.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("export")
