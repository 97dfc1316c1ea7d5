"""BAM inside a Flax NNX model, through its bridge."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bamjax import layers


class NNXNet(nnx.Module):
  """An NNX model with BAM between two of its own convs."""

  def __init__(self, rngs):
    self.first = nnx.Conv(3, 16, (3, 3), rngs=rngs)
    self.attention = nnx.bridge.ToNNX(layers.BAM(), rngs=rngs).lazy_init(
      jnp.zeros((1, 8, 8, 16))
    )
    self.last = nnx.Conv(16, 3, (3, 3), rngs=rngs)

  def __call__(self, x):
    return self.last(self.attention(self.first(x)))


def test_trains_inside_an_nnx_module():
  model = NNXNet(nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
  x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))

  def loss_of(model):
    return jnp.mean((model(x) - x) ** 2)

  @nnx.jit
  def step(model, optimizer):
    loss, grads = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, grads)
    return loss

  attention = jax.tree.leaves(nnx.state(model.attention, nnx.Param))
  assert sum(p.size for p in attention) == 2 * 16 + 1 + 49
  before = [np.asarray(p) for p in attention]
  loss = step(model, optimizer)
  after = jax.tree.leaves(nnx.state(model.attention, nnx.Param))
  assert all((a != b).any() for a, b in zip(before, after, strict=True))
  assert step(model, optimizer) < loss
