"""benchmark.py as a user runs it, and its rival."""

import importlib.util
import json

import jax
import pytest

import scripts


def script(*flags):
  return scripts.call("benchmark.py", *flags)


def test_script_writes_the_table_the_json_and_the_figure(tmp_path):
  output = tmp_path / "new" / "speed.json"
  done = script(
    "--models=edsr_baseline", "--sizes=8", "--frames=2", f"--output={output}"
  )
  assert done.code == 0, done.err
  result = json.loads(output.read_text())
  assert {"device", "jax", "jaxlib", "flax"} <= set(result["environment"])
  assert result["flags"]["models"] == ["edsr_baseline"]
  assert result["flags"]["frames"] == 2
  assert [row["attn"] for row in result["rows"]] == ["native", "bam"]
  for row in result["rows"]:
    assert (row["model"], row["scale"], row["size"]) == ("edsr_baseline", 2, 8)
    assert f"{row['fps']:.2f}" in done.out
  assert output.with_suffix(".png").is_file()


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--models=pna", "unknown model 'pna'"),
    ("--sizes=big", "flag --sizes=big: expected whole numbers"),
    ("--output=speed.png", "speed.png would be the figure"),
    ("--output=tests", "tests is a folder"),
    ("--frams=3", "Unknown command line flag 'frams'"),
    ("--rival=torch", "flag --rival=torch"),
  ],
)
def test_a_mistake_is_one_line(flag, message):
  done = script(flag)
  assert done.code == 2
  assert "Traceback" not in done.err
  last = done.err.splitlines()[-1]
  assert last.startswith("benchmark.py: error: ") and message in last


@pytest.mark.slow
@pytest.mark.parametrize(
  ("train", "models"),
  [
    (False, "imdn,pan,edsr_baseline,carn,msrn,awsrn"),
    (True, "imdn"),  # others take XLA minutes
  ],
)
def test_the_rival_returns_the_same(train, models, tmp_path):
  for package in ("torch", "super_image"):
    if importlib.util.find_spec(package) is None:
      pytest.skip(f"{package} is not installed")
  output = tmp_path / "speed.json"
  done = script(
    f"--models={models}",
    "--sizes=8",
    "--frames=1",
    "--rival=super-image",
    "--rival_forms=eager NCHW",
    f"--train={str(train).lower()}",
    "--batch_size=1",
    f"--output={output}",
  )
  assert done.code == 0, done.err
  rows = json.loads(output.read_text())["rows"]
  assert len(rows) == 2 * len(models.split(","))
  assert all(row["rival"]["difference"] < 1e-4 for row in rows)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--rival_forms=captured", "--train"], "captured NCHW cannot be trained"),
    (["--rival_forms=graphed"], "graphed NCHW needs a GPU"),
  ],
)
def test_forms_of_the_rival_that_cannot_run(flags, message):
  for package in ("torch", "super_image"):
    if importlib.util.find_spec(package) is None:
      pytest.skip(f"{package} is not installed")
  if jax.default_backend() == "gpu" and "GPU" in message:
    pytest.skip("there is a GPU")
  done = script("--rival=super-image", *flags)
  assert done.code == 2 and "Traceback" not in done.err
  assert message in done.err.splitlines()[-1]
