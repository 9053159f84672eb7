"""Work that no caller owns: tasks that go on when callers hang up, one flight for all who want the same, threads."""
