"""TensorFlow, imported where it is needed, quietly and off the GPUs."""

import os

from bamjax.errors import require


def load():
  """Imports TensorFlow, which reads data and leaves the devices to JAX."""
  require("--data_mode=tfdata", "train", "tensorflow")
  # It announces oneDNN at length; nothing is computed with it here.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  return tf


def load_datasets():
  """Imports TensorFlow Datasets, likewise."""
  require("downloading DIV2K", "train", "tensorflow_datasets")
  load()
  import tensorflow_datasets as tfds

  return tfds
