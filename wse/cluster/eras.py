"""What the training software of a year could do; it took one GPU from a third of its peak to 60 %.

An era is a list of abilities, each with a mechanism in this package; how well its products run is
fitted (``wse.cluster.calibration``). Sources: ``2021`` Narayanan et al. (arXiv 2104.04473),
``2022`` Korthikanti et al. (arXiv 2205.05198), ``2024`` sharded training with PyTorch's FSDP
(arXiv 2304.11277) and FlashAttention-2 (arXiv 2307.08691), as in llm-foundry.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.errors import PlanError


@dataclass(frozen=True)
class Era:
    """Training software, by what it can do.

    - ``sequence_parallelism``: LayerNorm and residuals are shared by the GPUs of a tensor group.
    - ``selective_recomputation``: the scores of attention alone may be computed again.
    - ``flash_attention``: the scores of attention never leave the multiprocessor.
    - ``dropout``: recipes drop activations, and read and write the masks.
    - ``zero_stages``: 0 keeps all states on every GPU of a data-parallel group, 1 shares out the
      optimizer's, 3 the weights and gradients too (ZeRO, arXiv 1910.02054; FSDP).
    - ``tuned_kernels``: attention and vector operators are fused by hand and reach the bound of
      memory; else they are a library's, one by one, and reach a share of it that is fitted.
    - ``overlaps_data_parallel``: gathers and reductions run beside arithmetic.
    - ``tensor_communication_hidden``: share of the tensor group's traffic behind arithmetic.
    """

    name: str
    sequence_parallelism: bool
    selective_recomputation: bool
    flash_attention: bool
    dropout: bool
    zero_stages: tuple[int, ...]
    tuned_kernels: bool
    overlaps_data_parallel: bool
    tensor_communication_hidden: float


ERAS = {
    era.name: era
    for era in (
        Era(
            name="2021",
            sequence_parallelism=False,
            selective_recomputation=False,
            flash_attention=False,
            dropout=True,
            zero_stages=(0, 1),
            tuned_kernels=True,
            overlaps_data_parallel=False,
            tensor_communication_hidden=0.0,
        ),
        Era(
            name="2022",
            sequence_parallelism=True,
            selective_recomputation=True,
            flash_attention=False,
            dropout=True,
            zero_stages=(0, 1, 3),
            tuned_kernels=True,
            overlaps_data_parallel=False,
            tensor_communication_hidden=0.0,
        ),
        Era(
            name="2024",
            sequence_parallelism=True,
            selective_recomputation=True,
            flash_attention=True,
            dropout=False,
            zero_stages=(0, 1, 3),
            tuned_kernels=False,
            overlaps_data_parallel=True,
            # Assumption, as no row of this era has a tensor group: some of the traffic runs beside
            # the products before or after it.
            tensor_communication_hidden=0.5,
        ),
    )
}


def era_named(era: Era | str) -> Era:
    """The era of that name, or ``era`` itself; raise :class:`PlanError` if there is none."""
    if isinstance(era, Era):
        return era
    if era not in ERAS:
        raise PlanError(f"cluster.era: {era!r} is none of {', '.join(ERAS)}")
    return ERAS[era]
