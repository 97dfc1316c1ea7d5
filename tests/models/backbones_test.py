"""Backbones with attentions: outputs, gradients, precision and shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.models import create_model
from models import small


def images(n=2, size=12):
  return jax.random.uniform(jax.random.key(1), (n, size, size, 3))


def unused(name, path):
  """Whether no output depends on a parameter, as in the release."""
  if name.startswith("carn"):  # held for the other scales
    return "scale_3" in path or "scale_4" in path
  # The block after the second group's first fusion reads the group's input.
  return name == "drln" and "'fuse_1'" in path


# Every backbone with BAM, and some with their own attention. tests/layers has
# every attention by itself.
PAIRS = [
  *((name, "bam") for name in small.OPTIONS),
  *(("edsr", "none"), ("imdn", "cca"), ("rcan", "ca"), ("drln", "la")),
  *(("pan", "pa"), ("edsr_baseline", "cbam")),
  *(("bsrn", "esa_cca"), ("smfanet", "none")),
]


@pytest.mark.parametrize(("name", "attn"), PAIRS)
def test_every_parameter_has_a_gradient(name, attn):
  model = small.create_wide(name, attn)
  x = images()

  def loss(variables):
    y = model.apply(variables, x)
    return jnp.mean(jnp.abs(y - 0.5)), y

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, y), grads = step(small.draw(model, x))
  assert y.shape == (2, 24, 24, 3)
  assert y.dtype == jnp.float32
  assert jnp.all(jnp.isfinite(y))
  for path, grad in jax.tree_util.tree_flatten_with_path(grads)[0]:
    path = jax.tree_util.keystr(path)
    assert np.all(np.isfinite(grad)), path
    assert np.any(grad) != unused(name, path), path


@pytest.mark.parametrize("name", small.OPTIONS)
def test_bfloat16_is_close_to_float32(name):
  x = images()
  variables = small.draw(small.create(name, "bam"), x)
  y = jax.jit(small.create(name, "bam").apply)(variables, x)
  low = small.create(name, "bam", dtype=jnp.bfloat16)
  options = {"capture_intermediates": True, "mutable": "intermediates"}
  run = jax.jit(functools.partial(low.apply, **options))
  y16, state = run(variables, x)
  assert y16.dtype == jnp.float32
  assert jnp.linalg.norm(y16 - y) < 0.03 * jnp.linalg.norm(y)
  # The whole trunk is in bfloat16: no layer but the last returns to float32.
  outputs = dict(state["intermediates"])
  del outputs["__call__"]
  outputs.pop("tail", None)
  assert {a.dtype for a in jax.tree.leaves(outputs)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("scale", (2, 3, 4, 8))
@pytest.mark.parametrize("name", small.OPTIONS)
def test_shapes(name, scale):
  if name.startswith("carn") and scale == 8:
    pytest.skip("CARN's release has no upsampler by 8")
  model = small.create(name, "bam", scale)
  y, _ = jax.eval_shape(
    model.init_with_output, jax.random.key(0), jnp.zeros((2, 5, 7, 3))
  )
  assert y.shape == (2, 5 * scale, 7 * scale, 3)


@pytest.mark.parametrize("name", ("carn", "carn_m"))
def test_carn_holds_all_scales_and_runs_one(name):
  x = images(1)
  models = [small.create(name, groups=1, scale=s) for s in (2, 4)]
  trees = [
    jax.tree.map(jnp.shape, jax.eval_shape(model.init, jax.random.key(0), x))
    for model in models
  ]
  assert trees[0] == trees[1]
  variables = small.draw(models[0], x)

  # Two convolutions of the other scales' branches: x3's, and one of x4's two.
  def convs(function, *args):
    with compile_for("export"):
      text = str(jax.make_jaxpr(function)(*args))
    return text.count("conv_general_dilated[")

  two, four = (convs(model.apply, variables, x) for model in models)
  assert four == two + 1
  assert convs(models[0].init, jax.random.key(0), x) > four


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("edsr", {"blocks": 1}),
    ("rcan", {"groups": 1, "blocks": 1}),
    ("drln", {"groups": (1,)}),
  ],
)
def test_rematerialisation_changes_no_value(name, options):
  x = images(1)
  models = [small.create(name, "ca", remat=r, **options) for r in (False, True)]
  variables = small.draw(models[0], x)

  def loss(variables, model):
    return jnp.mean(jnp.abs(model.apply(variables, x)))

  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  plain, remat = (gradient(variables, model) for model in models)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-7), plain, remat
  )


def test_slwsr_widths():
  for features in (16, 32, 64):
    model = create_model("slwsr32", features=features)
    params = jax.eval_shape(model.init, jax.random.key(0), images(1))
    assert params["params"]["head"]["kernel"].shape[-1] == features


@pytest.mark.parametrize("name", small.OPTIONS)
def test_inputs_other_than_floating_rgb_batches_are_refused(name):
  model = small.create(name, "bam")
  variables = small.draw(model, images())
  for x, message in (
    (np.zeros((9, 8, 3), np.float32), "N×H×W×3"),
    (np.zeros((1, 9, 8, 1), np.float32), "N×H×W×3"),
    (np.zeros((1, 9, 8, 3), np.uint8), "got uint8"),
  ):
    with pytest.raises(ValueError, match=message):
      model.apply(variables, x)
