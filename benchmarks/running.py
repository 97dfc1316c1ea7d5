"""Runs a benchmark; user errors are printed in one line."""

from collections.abc import Callable
from pathlib import Path
import sys

from bamjax.errors import UserError


def run(main: Callable[[], None]) -> None:
  """Runs `main`; on a `UserError`, prints it and exits with status 2."""
  try:
    main()
  except UserError as error:
    name = Path(sys.argv[0]).stem
    print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)
