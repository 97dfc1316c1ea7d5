import dataclasses

import pytest

from ablation import studies
from bamjax.ablation import cell_work
from bamjax.ablation import time_budget
from bamjax.ablation.cells import make_cells
from bamjax.runs import recipe as recipe_lib

MACHINE = {"device": "this one", "count": 1}


def test_slower_networks_train_for_fewer_steps(tmp_path):
  study = studies.make(tmp_path)
  study = studies.vary(
    study, {"steps": 1000, "optim": {"warmup_steps": 100, "decay_every": 300}}
  )
  asked = []

  def measure(configs):
    asked.extend(config.attn for config in configs)
    return [{"native": 0.1, "bam": 0.4, "ca": 0.2}[c.attn] for c in configs]

  def lengths(study):
    cells = time_budget.apply(
      make_cells(study), "native", study.folder, measure, MACHINE
    )
    return {
      cell.name: (
        cell.config.steps,
        cell.config.optim.decay_every,
        cell.config.optim.warmup_steps,
      )
      for cell in cells
    }

  found = lengths(study)
  assert asked == ["native", "bam"]  # once for all seeds
  assert found["pan-native-seed0"] == (1000, 300, 100)
  assert found["pan-bam-seed0"] == (250, 75, 25) == found["pan-bam-seed1"]
  # Resumed, or with another attention, the same times hold.
  wider = studies.make(tmp_path, attns=["native", "bam", "ca"])
  wider = dataclasses.replace(wider, recipe=study.recipe)
  assert lengths(wider).items() >= found.items()
  assert asked == ["native", "bam", "ca"]


def steps(study, machine=None, **seconds):
  """Steps of each network, and which were measured."""
  asked = []

  def measure(configs):
    asked.extend(config.attn for config in configs)
    return [seconds[config.attn] for config in configs]

  cells = time_budget.apply(
    make_cells(study), "native", study.folder, measure, machine or MACHINE
  )
  return {cell.config.attn: cell.config.steps for cell in cells}, asked


def begin(study, length):
  """Begins a cell of the control, and one of BAM with a number of steps."""
  for cell, number in zip(make_cells(study)[:2], (1000, length), strict=True):
    lengths = {"steps": number, "optim.decay_every": number * 50}
    config = recipe_lib.changed(cell.config, lengths)
    recipe_lib.save(config, cell.folder / "config.json")


@pytest.mark.parametrize(
  "change",
  [
    {"data": {"patch": 16}},
    {"batch_size": 4},
    {"scale": 4},
    {"dtype": "bfloat16"},
    {"optim": {"ema_decay": 0.9}},
    {"model_options": {"blocks": 2}},
  ],
)
def test_another_recipe_is_measured_anew(tmp_path, change):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"steps": 1000})
  assert steps(study, native=1, bam=2)[0] == {"native": 1000, "bam": 500}
  if blocks := change.get("model_options"):
    study = studies.make(tmp_path, options={"pan": studies.TINY | blocks})
    study = studies.vary(study, {"steps": 1000})
  else:
    study = studies.vary(study, change)
  found, asked = steps(study, native=10, bam=11)
  assert (found["bam"], asked) == (909, ["native", "bam"])
  # Both are kept.
  assert steps(study) == (found, [])
  # The length of a study does not change a step.
  study = studies.vary(study, {"steps": 100})
  assert steps(study) == ({"native": 100, "bam": 91}, [])


def test_another_machine_is_measured_unless_a_cell_has_begun(tmp_path):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"steps": 1000})
  found, _ = steps(study, native=1, bam=2)
  other = {"device": "another", "count": 1}
  assert steps(study, other, native=10, bam=11)[0]["bam"] == 909
  assert steps(study)[0] == found
  begin(study, 500)
  third = {"device": "a third", "count": 1}
  assert steps(study, third) == (found, [])
  # An attention that is new there is compared with the control's time there.
  wider = studies.make(tmp_path, attns=["native", "bam", "ca"])
  wider = studies.vary(wider, {"steps": 1000})
  wide, asked = steps(wider, third, native=10, ca=20)
  assert wide == {**found, "ca": 500} and asked == ["native", "ca"]


@pytest.mark.parametrize(
  "text",
  [
    "",
    "{",
    "[]",
    '{"step_seconds": 3}',
    '{"step_seconds": {"pan native": "x", "pan bam": null}}',
    '{"step_times": {"a": 1}}',
    '{"step_times": [1, {}, {"name": "pan bam", "seconds": 1}]}',
    '{"step_times": [{"name": 1, "terms": 2, "machine": 3, "seconds": -4}]}',
    # An older version's, which do not say what they are of.
    '{"step_seconds": {"pan native": 1.0, "pan bam": 8.0}}',
  ],
)
def test_damaged_times_are_measured_anew(tmp_path, text):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"steps": 1000})
  study.folder.mkdir()
  (study.folder / "budget.json").write_text(text)
  assert steps(study, native=1, bam=2)[0] == {"native": 1000, "bam": 500}
  assert steps(study)[1] == []


def test_a_study_of_an_older_version_keeps_its_lengths(tmp_path):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"steps": 1000})
  begin(study, 125)
  (study.folder / "budget.json").write_text(
    '{"step_seconds": {"pan native": 1.0, "pan bam": 8.0}}'
  )
  assert steps(study)[0] == {"native": 1000, "bam": 125}
  # Not if the control is trained longer now.
  study = studies.vary(study, {"steps": 2000})
  assert steps(study, native=1, bam=2)[0] == {"native": 2000, "bam": 1000}


@pytest.mark.slow
def test_steps_take_time(tmp_path, monkeypatch):
  monkeypatch.setattr(cell_work, "_STEPS", 2)
  cells = make_cells(studies.make(tmp_path))[:2]
  found = cell_work.step_seconds([cell.config for cell in cells])
  assert len(found) == 2 and min(found) > 0


@pytest.mark.parametrize("steps, ratio", [(1, 0.1), (10, 0.01)])
def test_every_network_trains_a_step(tmp_path, steps, ratio):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"steps": steps})
  cells = time_budget.apply(
    make_cells(study), "native", study.folder, lambda _: [ratio, 1.0], MACHINE
  )
  assert cells[1].config.steps == 1
