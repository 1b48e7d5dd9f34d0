"""Whether two mathematical answers are equal, exactly and in bounded time."""
