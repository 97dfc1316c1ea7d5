"""Images: reading and writing files, RGB arrays for networks, and resizing."""
