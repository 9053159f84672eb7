"""Work that no caller owns: tasks that go on when callers hang up, and one flight for all who want the same."""
