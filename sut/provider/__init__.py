"""The third party that the platform asks for suggestions, one process for each of its regions."""
