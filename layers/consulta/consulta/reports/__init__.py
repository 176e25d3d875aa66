"""Reports over a period: figures, rendering, schedules and delivery."""
