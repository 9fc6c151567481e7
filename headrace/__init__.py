"""The command line, the embedded stack and the provider simulator: the only package that sees all."""
