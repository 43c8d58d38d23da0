"""How cells are trained: the compiled step, the loop around it, cells over cores and machines."""
