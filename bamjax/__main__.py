"""`python -m bamjax` is `bamjax`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.main()
