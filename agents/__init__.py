"""The stages of the pipeline as Faust agents, and the ports they work through."""
