"""Tables: of what was measured, and of what the paper prints."""
