"""The double-entry ledger: its postings, lists and proof."""
