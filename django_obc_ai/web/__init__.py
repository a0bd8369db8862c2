"""What the REST API and the chat page share: who may ask, how often, and answers in pieces."""
