"""The same as `bamjax report`; see `python report.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("report")
