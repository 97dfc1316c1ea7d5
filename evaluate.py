"""The same as `bamjax evaluate`; see `python evaluate.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("evaluate")
