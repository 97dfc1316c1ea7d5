"""`python -m bamjax` is `bamjax`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.main()
