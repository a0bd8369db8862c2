"""What other programs ask: thin views over the services."""
