"""Mutation testing: plants one fault at a time and checks that tests fail.

`faults.toml` lists the faults: a piece of a file, its replacement, and the
tests that should then fail. As a script this prints the tests that did fail for
each fault, and exits with 1 if any fault goes undetected:

    python tests/plant.py                  all faults
    python tests/plant.py bam psnr --slow  faults by part of their name, with
                                           slow tests
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = Path(__file__).resolve().parents[1]
FAULTS = Path(__file__).with_name("faults.toml")


def planted(text: str, fault: dict[str, str]) -> str:
  """Returns the text of a fault's file with the fault in it.

  Raises:
    ValueError: the text to replace does not occur exactly once.
  """
  if (count := text.count(fault["find"])) != 1:
    raise ValueError(
      f"{fault['name']}: {fault['file']} has its text {count} times, not once"
    )
  return text.replace(fault["find"], fault["put"])


def copy(to: Path) -> None:
  """Copies the repository's tracked and untracked files, not ignored ones."""
  listed = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  for name in filter(None, listed.stdout.split("\0")):
    if (ROOT / name).exists():
      (to / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / name, to / name)


def run(
  fault: dict[str, str], flags: list[str]
) -> tuple[list[str], float, str]:
  """Runs a fault's tests in a copy of the repository that has the fault.

  Args:
    fault: an entry of faults.toml.
    flags: more flags for pytest.

  Returns:
    The tests that failed, the seconds they took, and the end of pytest's output
    (2,000 characters).
  """
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    copy(root)
    path = root / fault["file"]
    path.write_text(planted(path.read_text(), fault))
    environment = {"BAMJAX_SHARED": str(ROOT.parent / "shared"), **os.environ}
    environment.pop("CI", None)
    start = time.monotonic()
    done = subprocess.run(
      [
        *(sys.executable, "-m", "pytest", "-n0", "-rfE", "--tb=no"),
        *flags,
        *shlex.split(fault["tests"]),
      ],
      cwd=root,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
  failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
  return failed, time.monotonic() - start, done.stdout[-2000:]


def main() -> int:
  """Plants the faults named on the command line; returns the exit status."""
  parser = argparse.ArgumentParser()
  parser.add_argument("names", nargs="*", help="parts of faults' names")
  parser.add_argument("--slow", action="store_true", help="also run slow tests")
  parser.add_argument(
    "--first", action="store_true", help="stop at the first test that fails"
  )
  parser.add_argument("--jobs", type=int, default=os.cpu_count())
  options = parser.parse_args()
  faults = [
    fault
    for fault in tomllib.loads(FAULTS.read_text())["fault"]
    if not options.names or any(n in fault["name"] for n in options.names)
  ]
  flags = ["--slow"] * options.slow + ["-x"] * options.first
  undetected = []
  with ThreadPoolExecutor(options.jobs) as pool:
    results = pool.map(lambda fault: run(fault, flags), faults)
    for fault, (failed, seconds, output) in zip(faults, results, strict=True):
      print(
        f"{fault['name']}: {len(failed)} tests failed in {seconds:.0f} s",
        flush=True,
      )
      for name in failed[:5]:
        print(f"  {name}")
      if not failed:
        undetected.append(fault["name"])
        print(output)
  names = ", ".join(undetected)
  print(f"{len(faults)} faults, {len(undetected)} undetected: {names}")
  return 1 if undetected else 0


if __name__ == "__main__":
  sys.exit(main())
