-- Holds. Fields of h:ID:
-- b   MessagePack of pdp.quota.hold.Hold, as it was made
-- e   when it ends: ns, decimal
-- o   the owner: the data plane that made it
-- c   who is about to expire it, or was, and cu: the second until which nobody else may
-- g OWNER NAME   a data plane has given it to a retry, known by that name
-- l   nobody has published it since it was filled from the ledger, which does not know all of
--     it: it is given to nobody
-- u   whom it was made for is gone: only whom it was given to relies on it
-- w   one whom it was given to has given it up: it is written down, so only a record ends it
-- x, t, a   it has expired: nano-USD and tokens that were charged, and the second
-- z   it is settled, or taken back: all that is left, for 49 hours. It is what was charged:
--     MessagePack of pdp.quota.hold.Outcome, or `1` where nobody reported; behind `lost`, where
--     it was settled from a spool after Redis had lost it
--
-- Places in the hold, as in its Python class.
local ID, DECISION, KEY, REQUEST, COST, TOKENS, WINDOWS = 1, 2, 3, 4, 9, 11, 13

local function hold_name(id)
  return PREFIX .. 'h:' .. id
end

local function request_name(key, request)
  return PREFIX .. 'q:' .. key .. ':' .. request
end

-- A time in ns as the score of `ends`: microseconds, which a double can hold.
local function score(nanoseconds)
  return string.sub(nanoseconds, 1, -4)
end

-- Tell whether one decimal number is above another; both are without a sign.
local function above(one, other)
  if #one ~= #other then return #one > #other end
  return one > other
end

local function keep(hold, packed, ends)
  call('HSET', hold_name(hold[ID]), 'b', packed, 'e', ends, 'o', OWNER)
  call('ZADD', PREFIX .. 'ends', score(ends), hold[ID])
  call('SET', request_name(hold[KEY], hold[REQUEST]), hold[ID])
end

-- Leave nothing of a hold but that it is settled, and the outcome.
local function forget(hold, outcome)
  local name = hold_name(hold[ID])
  call('DEL', name)
  call('HSET', name, 'z', outcome or '1')
  call('EXPIRE', name, SETTLED_KEPT)
  call('ZREM', PREFIX .. 'ends', hold[ID])
end

-- Whether what is known of a request is a hold.
local function is_hold(found)
  return found and found ~= '' and string.sub(found, 1, 1) ~= '='
end

-- Note that a request is settled, unless another hold of it lives. `outcome` of one that was
-- never held.
local function settle_request(key, request, id, outcome)
  local name = request_name(key, request)
  local found = call('GET', name)
  if found == id or not is_hold(found) then
    call('SET', name, outcome and '=' .. outcome or '', 'EX', SETTLED_KEPT)
  end
end

local function forget_request(hold)
  local index = request_name(hold[KEY], hold[REQUEST])
  if call('GET', index) == hold[ID] then call('DEL', index) end
end

local function is_late(expired_at)
  return SECOND - tonumber(expired_at) >= SETTLED_KEPT
end

local function given_field(to)
  return 'g ' .. OWNER .. ' ' .. to
end

-- Whether a hold was given to a retry, by anybody or by an owner, that has not given it up.
local function is_given(name, owner)
  local start = owner and 'g ' .. owner .. ' ' or 'g '
  for _, field in ipairs(call('HKEYS', name)) do
    if string.sub(field, 1, #start) == start then return true end
  end
  return false
end

-- O key request to -> {packed, ends} of the live hold of a request, or false. It is given out.
local function open_of(key, request, to)
  local id = call('GET', request_name(key, request))
  if not is_hold(id) then return false end
  local found = call('HMGET', hold_name(id), 'b', 'e', 'x', 'l')
  if not found[1] or found[3] or found[4] then return false end
  call('HSET', hold_name(id), given_field(to), '')
  return {found[1], found[2]}
end

local function find_open(op)
  return open_of(op[2], op[3], op[4])
end

-- Of all whom this owner has given a hold to, before it or the counters were lost, one may
-- still rely on it; names are no longer known.
local function begin_anew(name)
  local before = call('HGET', name, 'o') ~= OWNER
  for _, field in ipairs(call('HKEYS', name)) do
    if string.sub(field, 1, #given_field('')) == given_field('') then
      before = true
      call('HDEL', name, field)
    end
  end
  if before then call('HSET', name, given_field(''), '') end
end

-- L id key request anew -> {packed, ends, whether it is filled}, or 'settled', 'unknown', 'new'.
-- The id goes first. `anew`: the owner has begun anew, and knows no names that it gave it under.
local function locate(op)
  local id, indexed = op[2], false
  if id == '' then
    indexed = call('GET', request_name(op[3], op[4]))
    id = is_hold(indexed) and indexed or ''
  end
  local found = {false}
  if id ~= '' then
    found = call('HMGET', hold_name(id), 'b', 'e', 'x', 'a', 'z', 'l')
    if found[1] and not (found[3] and is_late(found[4])) then
      if op[5] then begin_anew(hold_name(id)) end
      return {found[1], found[2], found[6] ~= false}
    end
  end
  if op[2] ~= '' then
    return (found[1] or found[5]) and 'settled' or 'unknown'
  end
  return indexed and 'settled' or 'new'
end

-- E id ends -> whether there is such a live hold; it ends no sooner than before. One that is
-- over and has been given out by `D` is not put off any more: it may have been written down as
-- expired, and whoever asks is to know that.
local function extend(op)
  local name = hold_name(op[2])
  local found = call('HMGET', name, 'b', 'e', 'x', 'c')
  if not found[1] or found[3] or found[4] then return false end
  if above(op[3], found[2]) then
    call('HSET', name, 'e', op[3])
    call('ZADD', PREFIX .. 'ends', score(op[3]), op[2])
  end
  return true
end

-- D microsecond most patience lease -> {{packed, ends}, ...} of holds that are over by then,
-- the earliest first. Those of others are given out only once they are `patience` us over:
-- their owner is gone. What is given out is nobody else's for `lease` seconds. It has to be
-- over by Redis' clock, too: where one of the two has jumped ahead, none is.
local function due(op)
  local given, now = {}, math.min(op[2], SECOND * 1e6 + math.floor(NANO / 1000))
  local ids = call('ZRANGEBYSCORE', PREFIX .. 'ends', '-inf', text(now), 'LIMIT', 0, 4 * op[3])
  for _, id in ipairs(ids) do
    local name = hold_name(id)
    local found = call('HMGET', name, 'b', 'e', 'o', 'c', 'cu')
    local left = found[4] and tonumber(found[5]) - SECOND or 0
    -- More than a lease is left of what was claimed before the clock was set back.
    local free = found[4] == OWNER or left <= 0 or left > op[5]
    local mine = found[3] == OWNER or tonumber(score(found[2])) <= now - op[4]
    if free and mine then
      call('HSET', name, 'c', OWNER, 'cu', text(SECOND + op[5]))
      given[#given + 1] = {found[1], found[2]}
      if #given == op[3] then break end
    end
  end
  return given
end
