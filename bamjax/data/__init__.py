"""Images: sources, resizing, crops, sampling and the tf.data pipeline."""
