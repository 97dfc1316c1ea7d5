"""The commands of `bamjax`: flags in, one call of the library out."""
