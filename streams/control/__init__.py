"""Control records: what operators change while Headrace runs, one record each, on `llm.control.v1`.

Begin with `specs` (what each kind says), then `state` (the records that hold), `follower` (how a process
keeps up with them) and `writer` (how one is changed, checked, and taken back).
"""
