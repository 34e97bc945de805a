"""Studies: a question answered from published data or records, without a run. One module each."""
