"""Runs of the scripts, as the tests end and read them."""

import json


def finish(process):
  """Waits for a process; its exit status, stdout and stderr."""
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def rows(run_dir):
  """What a run has logged."""
  lines = (run_dir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]
