"""Load generators: closed loop (each client asks again when it has its answer) and open loop (calls on a schedule).

`python -m benchmarks.load` is the generator's own process; `benchmarks.load.generator` starts it and speaks to it.
`benchmarks.load.h2load` drives the C generator of nghttp2, which costs the machine almost nothing.
"""
