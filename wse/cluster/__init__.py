"""The GPU cluster a user would otherwise take, simulated in closed form.

``wse.cluster.plan`` is where to start: ``cluster_plan`` says how a step would run on a number of
GPUs, ``gpus_to_match`` how many GPUs reach a rate.
"""
