"""The paper's recipe, the default of `bamjax train`.

  python train.py --model=edsr --attn=bam --scale=2

DIV2K's 800 training images cut into 4000 crops, 64×64 LR patches, batch 16,
L1 loss, Adam at 1e-4, halved every 50,000 of 250,000 steps (paper,
"Implementation details"). bamjax/runs/recipe.py explains each field.
"""

from bamjax.runs.recipe import Recipe


def get_config() -> Recipe:
  """Returns the recipe of a run."""
  return Recipe()
