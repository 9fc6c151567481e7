"""Where a webhook may be sent (`targets`), and how it is signed (`signing`)."""
