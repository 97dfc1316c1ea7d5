import pytest

from ablation import studies
from bamjax.ablation import cells as cells_lib
from bamjax.errors import UserError


def names(cells):
  return [cell.name for cell in cells]


def test_a_cell_for_each_combination(tmp_path):
  study = studies.make(tmp_path, models=["pan", "imdn"], seeds=[3, 4])
  cells = cells_lib.make_cells(study)
  assert names(cells) == [
    f"{model}-{attn}-seed{seed}"
    for seed in (3, 4)
    for model in ("pan", "imdn")
    for attn in ("native", "bam")
  ]
  config = cells[1].config
  assert (config.model, config.attn, config.seed) == ("pan", "bam", 3)
  assert config.model_options == studies.TINY
  assert not cells[2].config.model_options  # imdn's own
  assert study.recipe.model == "edsr"  # as it was


def test_shards_share_the_cells(tmp_path):
  cells = cells_lib.make_cells(studies.make(tmp_path, seeds=[0, 1, 2]))
  parts = [cells_lib.shard(cells, f"{i}/4") for i in range(4)]
  assert sorted(names(sum(parts, []))) == sorted(names(cells))
  assert names(parts[1]) == names(cells)[1::4]
  assert cells_lib.shard(cells, "") == cells
  for text in ("4/4", "-1/4", "1", "a/b", "0/0"):
    with pytest.raises(UserError, match="--shard is i/n"):
      cells_lib.shard(cells, text)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"models": []}, "no models: use --models"),
    ({"models": ["pam"]}, "unknown model 'pam'"),
    ({"attns": ["bam", "ca"]}, "control 'native' is not among"),
    ({"attns": ["native", "bum"]}, "unknown attention 'bum'"),
    ({"options": {"pan": {"depth": 3}}}, "no hyper-parameter depth"),
    ({"options": {"imdn": {}}}, "--options names imdn"),
    ({"protocol": "mine"}, "unknown protocol 'mine'"),
    ({"budget": "hours"}, "unknown budget 'hours'"),
    ({"benchmarks": ["absent"]}, "no folder absent"),
  ],
)
def test_invalid_studies(tmp_path, fields, message):
  with pytest.raises(UserError, match=message):
    cells_lib.make_cells(studies.make(tmp_path, **fields))


def test_benchmarks_of_one_name_or_without_hr(tmp_path):
  other = studies.benchmark(tmp_path / "other" / "set5")
  study = studies.make(tmp_path)
  with pytest.raises(UserError, match="have the same name: Set5, Set5"):
    cells_lib.make_cells(
      studies.make(tmp_path, benchmarks=[*study.benchmarks, str(other)])
    )
  low = studies.benchmark(tmp_path / "real" / "LR", 1).parent
  with pytest.raises(UserError, match="no HR image of image0"):
    cells_lib.make_cells(studies.make(tmp_path, benchmarks=[str(low)]))


def test_options_of_all_or_of_one_backbone():
  found = cells_lib.parse_options(
    ["features=8", "pan:blocks=6,features=4"], ["pan", "imdn"]
  )
  assert found == {
    "pan": {"features": 4, "blocks": 6},
    "imdn": {"features": 8},
  }
  with pytest.raises(UserError, match="cannot read the options|read"):
    cells_lib.parse_options(["pan:blocks"], ["pan"])
