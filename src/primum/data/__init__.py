"""The data that judge: evaluation sets, declarative preprocessing, patient-level splits and their ledger."""
