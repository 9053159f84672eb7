-- Begins scripts that change a gate: reads it, and has it take over what the asker knows of it and this server does
-- not, as it was away or has forgotten everything. Times are seconds by this server's clock.
-- ARGV from `at` on: ticket, rate, burst, slot in s, ms for which all this is kept, now ('': by the clock),
--       s that a pause has left at the most, s ahead for which turns are granted at the most; then what the asker
--       tells: s left of the pause, its cause, strikes (0: there is none); 1 if others may not know of it; 1 if it has
--       had turns of late; how many it had without this server; the tickets whose slots it holds, with blanks between
local ASKER = 15 -- how many those are
local SAME = 0.5 -- s by which the ends of a pause may differ that several tell of

local function gate_load(at, gate_key, slots_key)
  local rate, burst, slot = number(ARGV[at + 1]), number(ARGV[at + 2]), number(ARGV[at + 3])
  local now = clock(ARGV[at + 5])
  for key, kind in pairs({[gate_key] = 'hash', [slots_key] = 'zset'}) do
    if redis.call('TYPE', key).ok ~= kind then
      redis.call('DEL', key) -- nothing, or something that is no gate
    end
  end
  local read = redis.call('HMGET', gate_key, 'next', 'until', 'cause', 'strikes', 'epoch', 'probe', 'born')
  local gate = {now = now, rate = rate, burst = burst, slot = slot, next_at = number(read[1]), till = number(read[2]),
                cause = known_cause(read[3]), strikes = whole(read[4]), epoch = whole(read[5]), probe = read[6] or '',
                born = number(read[7]), forgotten = not read[1] and not read[5]}
  function gate.keep(...)
    redis.call('HSET', gate_key, ...)
    redis.call('PEXPIRE', gate_key, ARGV[at + 4])
  end
  function gate.charge(next_at)
    -- A user of this server may lack a right, and it takes back nothing that a script has written. So what a turn needs
    -- beside this is tried first, with what changes nothing: one that was charged, then refused, is asked for again.
    redis.call('ZADD', slots_key, 'XX', 0, '')
    redis.call('PEXPIRE', slots_key, ARGV[at + 4])
    gate.next_at = next_at
    gate.keep('next', text(next_at))
  end
  function gate.pause(till, cause, strikes)
    -- Turns that were granted for later are void from here on; those that are under way are not.
    gate.next_at = math.min(gate.next_at, now + burst / rate)
    gate.till, gate.cause, gate.strikes, gate.epoch, gate.probe = till, cause, strikes, gate.epoch + 1, ''
    gate.keep('until', text(till), 'cause', cause, 'strikes', strikes, 'epoch', gate.epoch, 'probe', '',
              'next', text(gate.next_at))
  end

  if is_beyond(gate.till, now + number(ARGV[at + 6])) then -- written, as it would be a pause again when it is near
    gate.till = 0
    gate.keep('until', 0)
  end
  if is_beyond(gate.next_at, now + 2 * burst / rate + number(ARGV[at + 7])) then
    gate.next_at = now + (burst - 1) / rate
    gate.keep('next', text(gate.next_at))
  end
  if gate.epoch == 0 then
    gate.epoch = 1 + math.floor(now * 1000) % 2 ^ 30
    gate.born = now
    gate.keep('epoch', gate.epoch, 'born', text(now))
  end
  local young = gate.forgotten or now - gate.born < slot -- others may not have told yet what it has forgotten
  local spent = number(ARGV[at + 13])
  if gate.forgotten and ARGV[at + 12] == '1' then
    gate.next_at = now + (burst - 1) / rate -- the burst may just have been used
    gate.keep('next', text(gate.next_at))
  elseif spent > 0 then
    gate.charge(math.min(math.max(gate.next_at, now) + spent / rate, math.max(gate.next_at, now + burst / rate)))
  end
  local reported, reported_until = whole(ARGV[at + 10]), now + math.min(number(ARGV[at + 8]), number(ARGV[at + 6]))
  -- No pause ends before its time. So what an asker knows of one that lasts is true, whatever this server knows, be it
  -- that it has older data. One that is over counts only where others cannot have ended it since.
  local lasts = reported_until > math.max(now, gate.till + SAME)
  if reported > 0 and (lasts or ARGV[at + 11] == '1' and reported_until > gate.till) then
    gate.pause(reported_until, ARGV[at + 9], math.max(gate.strikes, reported))
    gate.forgotten = false -- a turn that ends in this call began before the pause: it does not end it, nor is it a strike
  end
  if young then
    for ticket in string.gmatch(ARGV[at + 14], '%S+') do
      redis.call('ZADD', slots_key, text(now + slot), ticket)
    end
    redis.call('PEXPIRE', slots_key, ARGV[at + 4])
  end
  return gate
end
