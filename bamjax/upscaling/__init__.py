"""Image files in, larger image files out."""
