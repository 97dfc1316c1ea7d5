"""The same as `bamjax benchmark`; see `python benchmark.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("benchmark")
