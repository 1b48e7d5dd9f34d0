"""What earns a reward, for all tasks: answers, formats, mathematics, programs, and a judge."""
