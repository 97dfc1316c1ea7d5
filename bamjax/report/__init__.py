"""The HTML report: networks compared on the same images."""
