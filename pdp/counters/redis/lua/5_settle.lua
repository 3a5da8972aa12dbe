-- What ends a hold, and what is done again from a spool.

-- Put what was used in the place of a live hold.
local function release(hold, cost, tokens)
  move(hold[WINDOWS], cost, -(hold[COST] or 0), tokens, -hold[TOKENS], 0)
end

local function charge(key, request, windows, cost, tokens, requests, outcome)
  move(windows, cost, 0, tokens, 0, requests)
  settle_request(key, request, '', requests > 0 and outcome)
end

-- Note that a hold is settled that Redis has lost. Its request is counted by the ledger, or
-- when it is published.
local function settle_lost(id, outcome)
  call('HSET', hold_name(id), 'z', 'lost' .. (outcome or ''))
  call('EXPIRE', hold_name(id), SETTLED_KEPT)
end

-- Whether it was from a spool that a hold was settled.
local function was_lost(settled)
  return settled and string.sub(settled, 1, 4) == 'lost'
end

-- What was charged for another report, where that is known and is another amount; else false.
local function unlike(outcome, cost, tokens)
  if was_lost(outcome) then outcome = string.sub(outcome, 5) end
  if not outcome or #outcome < 2 then return false end
  local charged = cmsgpack.unpack(outcome)
  return ((charged[1] or 0) ~= cost or charged[2] ~= tokens) and outcome
end

-- Settle the hold `id` if it can be; nil: there is none that awaits a report.
local function settle_hold(id, cost, tokens, outcome)
  local found = call('HMGET', hold_name(id), 'b', 'x', 't', 'a')
  if not found[1] then return nil end
  local hold = cmsgpack.unpack(found[1])
  if not found[2] then
    release(hold, cost, tokens)
  elseif is_late(found[4]) then
    return nil
  else
    move(hold[WINDOWS], cost - tonumber(found[2]), 0, tokens - tonumber(found[3]), 0, 0)
  end
  forget(hold, outcome)
  settle_request(hold[KEY], hold[REQUEST], id)
  return true
end

-- S id key request cost tokens windows again second outcome -> whether anything moved: the first
-- settles. Where that one was charged another amount, its outcome instead of false.
-- Without an id it is the hold of the request, or a usage that was never held. `again`: it
-- comes from a spool. Then a hold that Redis has lost is charged all the same, and a request
-- that is known to be settled, or held anew, is left alone.
local function settle(op)
  local id, key, request, again, outcome = op[2], op[3], op[4], op[8], op[10]
  local known = false
  if id == '' then
    known = call('GET', request_name(key, request))
    id = not again and is_hold(known) and known or ''
  end
  if id ~= '' and settle_hold(id, op[5], op[6], outcome) then return true end
  if known then
    return not is_hold(known) and unlike(string.sub(known, 2), op[5], op[6])
  end
  if op[2] ~= '' then
    local lost = again and call('EXISTS', hold_name(id)) == 0
    if not lost then return unlike(call('HGET', hold_name(id), 'z'), op[5], op[6]) end
    settle_lost(id, outcome)
  end
  charge(key, request, op[7], op[5], op[6], op[2] == '' and 1 or 0, outcome)
  return true
end

-- X id key request cost tokens windows again second -> whether it was live: it is charged by
-- policy, and awaits one correction. `second`: when that was, if it is done `again`.
local function expire(op)
  local id, name = op[2], hold_name(op[2])
  local found = call('HMGET', name, 'b', 'x', 'z')
  if not found[1] then
    if found[3] or not op[8] then return false end
    settle_lost(id)
    charge(op[3], op[4], op[7], op[5], op[6], 0)
    return true
  end
  if found[2] then return false end
  local hold = cmsgpack.unpack(found[1])
  release(hold, op[5], op[6])
  call('HSET', name, 'x', text(op[5]), 't', text(op[6]), 'a', text(op[8] and op[9] or SECOND))
  -- One hour more than it may be corrected: what it was is told from what never was.
  call('EXPIRE', name, SETTLED_KEPT + 3600)
  call('ZREM', PREFIX .. 'ends', id)
  local index = request_name(hold[KEY], hold[REQUEST])
  local indexed = call('GET', index)
  if indexed == id or not is_hold(indexed) then
    call('SET', index, id, 'EX', SETTLED_KEPT + 3600)
  end
  return true
end

-- Take a live hold back as if it had never been.
local function take_back(packed)
  local hold = cmsgpack.unpack(packed)
  CURRENT = {'C', hold[ID]}  -- It may be another one than the op is about.
  move(hold[WINDOWS], 0, -(hold[COST] or 0), 0, -hold[TOKENS], -1)
  forget(hold)
  forget_request(hold)
end

-- W id names -> what becomes of a live hold, now that nobody relies on it any more whom this
-- owner gave it to under these names, nor whom it made it for:
--   {packed, ends}  nobody else does either: it is settled next, and given to nobody meanwhile
--   'given'         it was given to one whose answer is still on its way: ask again
--   true            others rely on it;  false  there is none
local function withdraw(op)
  local name = hold_name(op[2])
  local found = call('HMGET', name, 'b', 'e', 'x', 'o', 'u')
  if not found[1] or found[3] then return false end
  call('HSET', name, 'w', '')
  call('HDEL', name, given_field(''))
  for _, to in ipairs(op[3]) do call('HDEL', name, given_field(to)) end
  if is_given(name, OWNER) then return 'given' end
  if found[4] == OWNER then
    call('HSET', name, 'u', '')
  elseif not found[5] then
    return true
  end
  if is_given(name) then return true end
  forget_request(cmsgpack.unpack(found[1]))
  return {found[1], found[2]}
end

-- C id key request -> true. Take a hold back whose answer nobody got, or that is yet to arrive;
-- not one that a retry was given meanwhile. Where the answer was another hold of the request,
-- that one was given to nobody. One that is written down stays until it runs out.
local function cancel(op)
  local id, name = op[2], hold_name(op[2])
  local found = call('HMGET', name, 'b', 'x', 'w')
  if found[2] then return true end
  if found[1] then
    if found[3] or is_given(name) then call('HSET', name, 'u', '') else take_back(found[1]) end
    return true
  end
  call('HSET', name, 'z', '1')
  call('EXPIRE', name, SETTLED_KEPT)
  local other = call('GET', request_name(op[3], op[4]))
  if not is_hold(other) then return true end
  name = hold_name(other)
  if call('HDEL', name, given_field(id)) == 0 then return true end
  found = call('HMGET', name, 'b', 'x', 'u', 'w')
  local free = found[1] and not found[2] and found[3] and not found[4]
  if free and not is_given(name) then take_back(found[1]) end
  return true
end

local function move_held(hold, sign)
  move(hold[WINDOWS], 0, sign * (hold[COST] or 0), 0, sign * hold[TOKENS], 0)
end

-- A hold that is there already. `hold`: what whoever publishes it knows.
local function publish_again(name, hold, packed, ends, requests)
  local found = call('HMGET', name, 'b', 'x', 'z', 'o', 'l')
  if was_lost(found[3]) and requests ~= 0 then
    move(hold[WINDOWS], 0, 0, 0, 0, requests)
    local outcome = string.sub(found[3], 5)
    call('HSET', name, 'z', outcome ~= '' and outcome or '1')
  elseif not found[1] or found[2] then
    return
  elseif found[5] then
    move_held(cmsgpack.unpack(found[1]), -1)
    move_held(hold, 1)
    call('HDEL', name, 'l')
    call('HSET', name, 'b', packed, 'e', ends, 'o', OWNER)
    call('ZADD', PREFIX .. 'ends', score(ends), hold[ID])
  elseif found[4] ~= OWNER then
    call('HSET', name, given_field(''), '')
  end
end

-- P packed ends rates requests -> whether it was new. Hold what was held before, here or in
-- a Redis that is gone. `rates` {key, slot, time} never go back; `requests` is 0 where the
-- ledger has counted the request.
local function publish(op)
  local hold = cmsgpack.unpack(op[2])
  local name = hold_name(hold[ID])
  if call('EXISTS', name) == 1 then
    publish_again(name, hold, op[2], op[3], op[5])
    return false
  end
  move(hold[WINDOWS], 0, hold[COST] or 0, 0, hold[TOKENS], op[5])
  for _, rate in ipairs(op[4]) do
    local found = call('HGET', PREFIX .. 'r:' .. rate[1], rate[2])
    local distance = ahead(rate[3])
    if distance > 0 and distance > ahead(found) then
      keep_times(rate[1], {{rate[2], rate[3]}}, distance)
    end
  end
  keep(hold, op[2], op[3])
  return true
end
