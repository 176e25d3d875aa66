"""WebSocket connections, and telling them that a dashboard has changed."""
