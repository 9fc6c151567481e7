"""The stages of the pipeline, run as Faust agents, one consumer group per stage.

Begin with `streams/pipeline.py` (which stages there are) and `bootstrap` (how a worker starts). Each stage is
a package that begins with `stage`; `runner` runs them, `intake`, `checks` and `paid_calls` are what they
share.
"""
