"""What a user would take instead of Onewafer: runnable peers, which know nothing of it.

Each is one script that needs torch (and the packages of ``requirements-peers.txt``) alone, so it
runs in an environment of its own.
"""
