"""Where settings come from (``sources``), what each is called (``fields``), what may be wrong with it (``faults``)."""
