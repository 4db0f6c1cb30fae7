"""Runs nodes that have nothing to do with each other side by side, on this machine.

    runner.py   the DAG: what is ready is started, node after node, in TFX's own launcher
    places.py   where executors run: this process, and processes that are kept for the next one
    process.py  the other end: such a process, from its start to its end

Imports TFX, but for this file.
"""
