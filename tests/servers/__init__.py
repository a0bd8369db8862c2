"""Real servers for tests, from wheels: no root, no service, no fixed port.

Each runs in a temporary folder under a supervisor process, which ends the server and removes the
folder when the tests end, however they end.
"""
