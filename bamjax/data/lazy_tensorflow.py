"""Imports TensorFlow only when needed, quietly and without its GPUs."""

import os
from types import ModuleType

from bamjax.errors import require


def load() -> ModuleType:
  """Imports TensorFlow and hides the GPUs from it, which JAX needs."""
  require("--data_mode=tfdata", "tensorflow", extra="train")
  # Avoids a long message about oneDNN, which is not used here.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  return tf


def load_datasets() -> ModuleType:
  """Imports TensorFlow Datasets after TensorFlow; see `load`."""
  require("downloading DIV2K", "tensorflow_datasets", extra="train")
  load()
  import tensorflow_datasets as tfds

  return tfds
