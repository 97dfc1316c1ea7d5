"""How a benchmark runs: a user's mistake is told in one line."""

from collections.abc import Callable
from pathlib import Path
import sys

from bamjax.errors import UserError


def run(main: Callable[[], None]) -> None:
  """Runs `main`; a `UserError` ends the program with status 2."""
  try:
    main()
  except UserError as error:
    name = Path(sys.argv[0]).stem
    print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
