"""The HTML page that shows what networks make of pictures."""
