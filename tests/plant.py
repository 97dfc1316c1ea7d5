"""Plants faults in copies of the library, one at a time: do tests see them?

`faults.toml` holds the faults: a piece of a file, what it becomes, and the
tests that should fail then. As a script it prints, for each fault, the tests
that did fail, and exits with 1 if there is a fault that none saw:

    python tests/plant.py                  all faults
    python tests/plant.py bam psnr --slow  those with such names, slow tests too
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


def plant(root: Path, fault: dict[str, str]) -> None:
  """Changes the one place in a copy of the repository that a fault names."""
  path = root / fault["file"]
  text = path.read_text()
  if (count := text.count(fault["find"])) != 1:
    raise ValueError(f"{fault['name']}: {fault['file']} has it {count} times")
  path.write_text(text.replace(fault["find"], fault["put"]))


def copy(to: Path) -> None:
  """Copies what git knows, and what it does not ignore, of the repository."""
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
  """Tests that fail with a fault, the seconds it took, and pytest's words."""
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    copy(root)
    plant(root, fault)
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
  """Plants the faults that are asked for; the exit status."""
  parser = argparse.ArgumentParser()
  parser.add_argument("names", nargs="*", help="parts of the faults' names")
  parser.add_argument("--slow", action="store_true", help="run slow tests too")
  parser.add_argument(
    "--first", action="store_true", help="stop at the first test that sees it"
  )
  parser.add_argument("--jobs", type=int, default=os.cpu_count())
  options = parser.parse_args()
  text = Path(__file__).with_name("faults.toml").read_text()
  faults = [
    fault
    for fault in tomllib.loads(text)["fault"]
    if not options.names or any(n in fault["name"] for n in options.names)
  ]
  flags = ["--slow"] * options.slow + ["-x"] * options.first
  unseen = []
  with ThreadPoolExecutor(options.jobs) as pool:
    results = pool.map(lambda fault: run(fault, flags), faults)
    for fault, (failed, seconds, said) in zip(faults, results, strict=True):
      seen = f"{len(failed)} tests in {seconds:.0f} s"
      print(f"{fault['name']}: {seen}", flush=True)
      for name in failed[:5]:
        print(f"  {name}")
      if not failed:
        unseen.append(fault["name"])
        print(said)
  print(f"{len(faults)} faults, {len(unseen)} unseen: {', '.join(unseen)}")
  return 1 if unseen else 0


if __name__ == "__main__":
  sys.exit(main())
