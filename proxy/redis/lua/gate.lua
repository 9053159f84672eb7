-- Begins scripts that ask whether the hub may be asked, by the rules of admission.gate.Gate.admit. Times are seconds
-- by this server's clock.
-- Keys: gate (a hash), slots (a sorted set of tickets by the end of their slots)
-- ARGV from `at` on: ticket, rate, burst, concurrency, patience, paid (0 or 1), slot in s, s to turn others away for
--       while a probe is under way, ms for which all this is kept, now ('': by the clock),
--       then of the pause as the asker knows it: s left, cause, strikes (0: there is none); 1 if others may not know of
--       it; 1 if the asker has had turns of late. The last two matter where this server has forgotten; then
--       s that a pause has left at the most, s ahead for which turns are granted at the most
-- Returns: turn | the reason for a refusal, wait in s, epoch, strikes
local function admit(at, gate_key, slots_key)
  local ticket, rate, burst, concurrency = ARGV[at], number(ARGV[at + 1]), number(ARGV[at + 2]), number(ARGV[at + 3])
  local patience, paid, slot = number(ARGV[at + 4]), ARGV[at + 5] == '1', number(ARGV[at + 6])
  local now = tonumber(ARGV[at + 9])
  if not now then
    local time = redis.call('TIME')
    now = number(time[1]) + number(time[2]) / 1e6
  end
  for key, kind in pairs({[gate_key] = 'hash', [slots_key] = 'zset'}) do
    if redis.call('TYPE', key).ok ~= kind then
      redis.call('DEL', key) -- nothing, or something that is no gate
    end
  end
  local gate = redis.call('HMGET', gate_key, 'next', 'until', 'cause', 'strikes', 'epoch', 'probe')
  local next_at, till, cause = number(gate[1]), number(gate[2]), known_cause(gate[3])
  local strikes, epoch, probe = whole(gate[4]), whole(gate[5]), gate[6] or ''

  local function keep(...)
    redis.call('HSET', gate_key, ...)
    redis.call('PEXPIRE', gate_key, ARGV[at + 8])
  end
  if is_beyond(till, now + number(ARGV[at + 15])) then -- written, as it would be a pause again when it is near
    till = 0
    keep('until', 0)
  end
  if is_beyond(next_at, now + 2 * burst / rate + number(ARGV[at + 16])) then
    next_at = now + (burst - 1) / rate
    keep('next', text(next_at))
  end

  local forgotten = not gate[1] and not gate[5]
  local told, told_until = number(ARGV[at + 12]), now + number(ARGV[at + 10])
  if forgotten and ARGV[at + 14] == '1' then
    next_at = now + (burst - 1) / rate -- the burst may just have been used
  end
  if told > 0 and (forgotten or ARGV[at + 13] == '1') and told_until > till then
    till, cause, strikes, epoch, probe = told_until, ARGV[at + 11], math.max(strikes, told), epoch + 1, ''
    keep('until', text(till), 'cause', cause, 'strikes', strikes, 'epoch', epoch, 'probe', '')
  end

  local function answer(what, wait) return {what, text(wait), epoch, strikes} end
  if now < till then
    return answer(cause, till - now)
  end
  redis.call('ZREMRANGEBYSCORE', slots_key, '-inf', text(now))
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', slots_key, '(' .. text(now + slot), '+inf')) do
    redis.call('ZADD', slots_key, text(now + slot), holder)
  end
  if strikes > 0 and probe ~= ticket and redis.call('ZSCORE', slots_key, probe) then
    return answer(cause, number(ARGV[at + 7]))
  end
  local held = redis.call('ZSCORE', slots_key, ticket) -- granted before, in an answer that was lost
  if not held and redis.call('ZCARD', slots_key) >= concurrency then
    keep('crowded', text(now + 1)) -- whoever leaves tells of the room
    return answer('concurrency', 0)
  end
  local wait = 0
  if not paid and not held then
    wait = math.max(0, next_at - (burst - 1) / rate - now)
    if wait > patience then
      return answer('rate', wait)
    end
    keep('next', text(math.max(next_at, now) + 1 / rate))
  end
  if wait == 0 then
    redis.call('ZADD', slots_key, text(now + slot), ticket)
    if strikes > 0 then
      keep('probe', ticket)
    end
    redis.call('PEXPIRE', slots_key, ARGV[at + 8])
  end
  return answer('turn', wait)
end
