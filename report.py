"""The same as `bamjax report`; see `python report.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("report")
