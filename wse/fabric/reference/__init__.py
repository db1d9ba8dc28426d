"""The fabric once more, slow and plain: ``docs/fabric.md`` sentence by sentence.

It shares with ``wse/fabric/engine/`` only the program's tables and the machine's numbers, and is
there to be read, and to be compared with: both agree on every cycle and every bit.
"""
