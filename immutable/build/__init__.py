"""The verbs that build: load, plan, realise, lock, copy, verify, and the remote cache."""
