"""`python -m bamjax` is `bamjax`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.main()
