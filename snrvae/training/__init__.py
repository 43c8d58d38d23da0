"""Training: engines that run the steps, the batches and schedule they share, cells over cores and machines."""
