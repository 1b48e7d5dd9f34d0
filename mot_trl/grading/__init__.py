"""What tasks share in judging answers."""
