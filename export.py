"""The same as `bamjax export`; see `python export.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("export")
