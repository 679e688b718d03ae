"""Example clients of the event store and the message queue, from generated stubs alone."""
