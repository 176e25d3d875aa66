"""/v1/analytics: one module per question, each answered from figures of a stretch of days."""
