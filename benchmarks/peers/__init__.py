"""The servers that are compared, one module each, all with the same released weights and two one-thread workers."""
