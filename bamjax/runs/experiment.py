"""What a recipe describes: its network, images and degradation."""

from flax import linen as nn
import jax.numpy as jnp

from bamjax.data import sources
from bamjax.data.degradation import degrader
from bamjax.data.degradation import mixtures
from bamjax.data.degradation import photo
from bamjax.errors import UserError
from bamjax.models import registry
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Recipe


def check(recipe: Recipe) -> None:
  """Checks all fields that need no file and no network.

  Raises:
    UserError: a field has an invalid value.
  """
  recipe_lib.check(recipe)
  _check_folders(recipe.data)
  make_mixture(recipe)


def _check_folders(data: Data) -> None:
  """Raises UserError if a folder is set that the source does not use."""
  if data.source not in sources.KINDS:  # make_source reports it
    return
  for field, value, kinds in (
    ("data_dir", data.data_dir, ("folder", "div2k")),
    ("val_dir", data.val_dir, ("folder",)),
    ("manual_dir", data.manual_dir, ("div2k",)),
  ):
    if value and data.source not in kinds:
      raise UserError(
        f"--{field} is not for --data={data.source}: remove it, or use"
        f" --data={kinds[0]}"
      )


def build_model(recipe: Recipe) -> nn.Module:
  """Creates the network that a recipe describes.

  Raises:
    UserError: a name, the scale, the dtype or a hyper-parameter is unknown.
  """
  if recipe.dtype not in ("float32", "bfloat16"):
    raise UserError(
      f"unknown dtype {recipe.dtype!r}; choose from float32, bfloat16"
    )
  # First, since an option must not set another argument of create_model.
  registry.check_options(recipe.model, recipe.model_options)
  return registry.create_model(
    recipe.model,
    recipe.attn,
    recipe.scale,
    normalization=recipe.normalization,
    dtype=jnp.dtype(recipe.dtype),
    **recipe.model_options,
  )


def make_source(recipe: Recipe) -> sources.Source:
  """Finds the images that a recipe describes.

  Raises:
    UserError: they are not available.
  """
  data = recipe.data
  return sources.make_source(
    data.source,
    recipe.scale,
    data_dir=data.data_dir or None,
    val_dir=data.val_dir or None,
    manual_dir=data.manual_dir or None,
  )


def make_mixture(recipe: Recipe) -> mixtures.Mixture:
  """Makes what the training's LR is degraded by.

  Raises:
    UserError: the degradation or one of its options is invalid, or a patch is
      too small for it.
  """
  data = recipe.data
  mixture = mixtures.named(data.degradation, data.degradation_options)
  if isinstance(mixture, mixtures.Photo):
    side, hr_side = data.patch, recipe.scale * data.patch
    photo.check_shapes((hr_side, hr_side), (side, side), mixture)
  return mixture


def make_degrader(recipe: Recipe) -> degrader.Degrader | None:
  """Makes what degrades a run's validation images; None if nothing does.

  Raises:
    UserError: as `make_mixture`.
  """
  name = recipe.data.degradation
  if recipe.data.degradation_options:
    name += ", own ranges"
  return degrader.of_mixture(name, make_mixture(recipe))
