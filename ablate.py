"""The same as `bamjax ablate`; see `python ablate.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("ablate")
