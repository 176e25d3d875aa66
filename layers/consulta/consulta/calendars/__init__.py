"""Calendars elsewhere: Google kept in step, iCalendar feeds and invitations."""
