"""The commands: flags to one call of the library each."""
