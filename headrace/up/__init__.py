"""`headrace up`: every process of Headrace on one machine, watched and restarted.

Begin reading at `stack.Stack`: what is started, in which order. `supervisor` starts a process that ends
again; `home` reads and writes the folder `.headrace`.
"""
