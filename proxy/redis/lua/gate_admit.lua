-- May the hub be asked?
-- KEYS, ARGV, and what it returns: those of gate.admit
return admit(1, KEYS[1], KEYS[2])
