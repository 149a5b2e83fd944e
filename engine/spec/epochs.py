"""How many steps pass over the rows of a data set. No torch: the specification counts them as the run does."""


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Batches of `batch_size` rows in one pass over `rows`, the last partial one counted; 1 where there are no rows to pass over."""
    return max(1, -(-rows // max(1, batch_size)))
