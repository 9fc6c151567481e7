"""The cache stage: render the prompt, and answer from an earlier answer where that is right."""
