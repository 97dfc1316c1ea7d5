"""The same as `bamjax benchmark`; see `python benchmark.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("benchmark")
