"""One module for each operation of the graph; each has a Step."""
