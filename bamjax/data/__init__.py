"""Training and test images: sources, caching, crops, sampling, batches."""
