"""Training: engines that run the steps, the batches and schedule they share, cores and machines."""
