"""The database as a whole: its state, read in `facts` and judged in `check`, and which path it is on."""
