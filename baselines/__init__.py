"""Published methods and controls, one file each, seen by the harness through entry points only."""
