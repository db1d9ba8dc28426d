"""The fast implementation of ``docs/fabric.md``: only PEs and routers with something to do."""
