"""What every domain stands on: settings, keys, the table, money, time, errors, HTTP, identity."""
