"""What is contested: disputes, chargebacks and early warnings of fraud."""
