"""The HTTP routes of the analytics process. Begin with `queries`."""
