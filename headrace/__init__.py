"""The command line, the embedded stack and the provider simulator: the only package that imports all others.

Begin with `up` (`headrace up`) or `cli` (every other command). `embedded` is Kafka, Redis and ClickHouse,
`simulator` stands in for the providers, `ops` is what operators run by hand.
"""
