"""Reference data that is not part of the repository."""

import os
from pathlib import Path

import pytest

SHARED = Path(
  os.environ.get("BAMJAX_SHARED")
  or Path(__file__).resolve().parents[2] / "shared"
)

needs_shared = pytest.mark.skipif(
  not SHARED.is_dir(),
  reason=f"reference data not found in {SHARED}; set BAMJAX_SHARED",
)
