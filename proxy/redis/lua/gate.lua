-- Begins scripts that ask whether the hub may be asked, by the rules of admission.gate.Gate.admit.
-- Keys: gate (a hash), slots (a sorted set of tickets by the end of their slots)
-- ARGV from `at` on: the asker, as in gate_load, then concurrency, patience, the epoch in which this turn was granted for
--       later ('': it was not), s to turn others away for while a probe is under way
-- Returns: turn | the reason for a refusal, wait in s, epoch, strikes, s left of the pause, when this gate began
local function admit(at, gate_key, slots_key)
  local gate = gate_load(at, gate_key, slots_key)
  local ticket, now, rate, burst, slot = ARGV[at], gate.now, gate.rate, gate.burst, gate.slot
  at = at + ASKER
  local concurrency, patience = number(ARGV[at]), number(ARGV[at + 1])

  local function answer(what, wait)
    return {what, text(wait), gate.epoch, gate.strikes, text(math.max(0, gate.till - now)), text(gate.born)}
  end
  if now < gate.till then
    return answer(gate.cause, gate.till - now)
  end
  redis.call('ZREMRANGEBYSCORE', slots_key, '-inf', text(now))
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', slots_key, '(' .. text(now + slot), '+inf')) do
    redis.call('ZADD', slots_key, text(now + slot), holder)
  end
  if gate.strikes > 0 and gate.probe ~= ticket and redis.call('ZSCORE', slots_key, gate.probe) then
    return answer(gate.cause, number(ARGV[at + 3]))
  end
  local held = redis.call('ZSCORE', slots_key, ticket) -- granted before, in an answer that was lost
  if not held and redis.call('ZCARD', slots_key) >= concurrency then
    gate.keep('crowded', text(now + 1)) -- whoever leaves tells of the room
    return answer('concurrency', 0)
  end
  local wait = 0
  if not held and tonumber(ARGV[at + 2]) ~= gate.epoch then -- what was paid before a pause, or a loss, is void
    wait = math.max(0, gate.next_at - (burst - 1) / rate - now)
    if wait > patience then
      return answer('rate', wait)
    end
    gate.charge(math.max(gate.next_at, now) + 1 / rate)
  end
  if wait == 0 then
    redis.call('ZADD', slots_key, text(now + slot), ticket)
    if gate.strikes > 0 then
      gate.keep('probe', ticket)
    end
    redis.call('PEXPIRE', slots_key, ARGV[at - ASKER + 4])
  end
  return answer('turn', wait)
end
