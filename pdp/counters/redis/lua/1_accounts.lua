-- The counters of one root key and all below it. One script: the files of this folder, in
-- the order of their names (pdp/counters/redis/script.py joins them).
--
-- KEYS[1]  `pdp:{ROOT}:`. Every name below begins with it, so that all are in one slot.
-- ARGV[1]  MessagePack of {owner, seconds, nanoseconds, ops, floor}. The time is that of Redis
--          where `seconds` is 0; tests give their own. An op is {letter, ...}: see the
--          function that its letter stands for in `9_main.lua`.
--          `floor` is the highest count of the owner's calls that it was told, 0: any.
-- Returns  {epoch or nil, seconds, nanoseconds, answers, count}, one answer for each op: true
--          is 1, false is nil. Without an epoch the root has not been opened since Redis lost
--          its data, or it has lost calls that the owner had an answer to (an old copy of the
--          data, a replica that lagged): no op was done but those that open it, and the answer
--          is '?'. An op that failed answers {'!', why}. `count` is of the owner's calls;
--          a text says why Redis takes no writes: then nothing was done.
--
-- Each op is done whole or not at all: it reads, then decides, then writes.
--
-- Amounts are decimal strings: HINCRBY adds 64-bit integers, exactly. Lua has doubles, which
-- are exact up to 2^53 = 9.007e15; no limit is above 9e15 (nano-USD of 9,000,000 USD), so
-- that a comparison with one is right whatever the sum: above 2^53 it is rounded, and stays
-- above every limit.
--
-- d:KEY:START  hash  s, h, ts, th: spent and held nano-USD and tokens of a day
-- m:KEY:START  hash  the same of a month
-- t:KEY        hash  the same ever, and r: requests
-- r:KEY        hash  slot -> theoretical arrival time of a rate, SECONDS.NANOSECONDS
-- h:ID         hash  a hold; see `3_holds.lua`
-- q:KEY:ID     string  the hold of a request; empty once it is settled, `=` and the outcome
--              where it was never held
-- ends         sorted set  live holds by the microsecond in which they end
-- epoch        string  random; there is one while the counters are whole
-- spools       hash  spool -> number of the record up to which all are counted here
-- calls        hash  owner -> how many of its calls were done
-- opening      string  who opens the root just now; until it is gone, nothing is reserved
-- watch        string  who compares the counters with the ledger just now; see `7_compare.lua`
-- moves        list    what moved since
-- adjusted     set     corrections that were made

local PREFIX = KEYS[1]
local call = redis.call
local OWNER, SECOND, NANO, OPS, FLOOR = unpack(cmsgpack.unpack(ARGV[1]))
if SECOND == 0 then
  local time = call('TIME')
  SECOND, NANO = tonumber(time[1]), tonumber(time[2]) * 1000
end

-- Seconds that a window outlives what was counted in it last: a late report comes for 49
-- hours, and clocks go back.
local DAY_KEPT, MONTH_KEPT = 5.5 * 86400, 70 * 86400
local SETTLED_KEPT = 49 * 3600
local MOST_SUM = 4611686018427387904
local NOT_OPEN = '?'

-- What a call asks again and again: there are up to 64 ops in one. In one MGET, for two of
-- these are missing: a node of a Cluster that has not got all of the slot yet stops the script
-- here, before it counts on the half that it has.
local EPOCH, OPENING, WATCHER =
  unpack(call('MGET', PREFIX .. 'epoch', PREFIX .. 'opening', PREFIX .. 'watch'))
local CURRENT  -- The op that is done just now.
local known_names = {}
local note     -- In `7_compare.lua`.

local function text(number)
  return string.format('%.0f', number)
end

-- The names of the day, the month and the total of a window {key, day, month}.
local function names(window)
  local key = window[1]
  local known = known_names[key]
  if not known or known[4] ~= window[2] or known[5] ~= window[3] then
    known = {
      PREFIX .. 'd:' .. key .. ':' .. text(window[2]),
      PREFIX .. 'm:' .. key .. ':' .. text(window[3]),
      PREFIX .. 't:' .. key,
      window[2], window[3],
    }
    known_names[key] = known
  end
  return known
end

local function add(name, field, amount, decimal, kept)
  local sum = call('HINCRBY', name, field, decimal)
  if sum == amount and kept then
    -- It is new, or was empty: so it never stays without an end.
    call('EXPIRE', name, kept)
  elseif sum > MOST_SUM and field == 's' then
    call('HSET', name, field, text(MOST_SUM))
  end
end

local function add_to_all(all, field, amount)
  if amount == 0 then return end
  local decimal = text(amount)
  add(all[1], field, amount, decimal, DAY_KEPT)
  add(all[2], field, amount, decimal, MONTH_KEPT)
  add(all[3], field, amount, decimal)
end

-- Add to the windows of a chain. Amounts are whole numbers up to 9e15, of either sign.
local function move(windows, spent, held, tokens_spent, tokens_held, requests)
  for place = 1, #windows do
    local all = names(windows[place])
    add_to_all(all, 's', spent)
    add_to_all(all, 'h', held)
    add_to_all(all, 'ts', tokens_spent)
    add_to_all(all, 'th', tokens_held)
    if requests ~= 0 then call('HINCRBY', all[3], 'r', requests) end
  end
  if WATCHER then note(windows) end
end

-- {s, h, ts, th} of a day or month, {s, h, ts, th, r} of all time: texts, or false.
local function bucket(name)
  return call('HMGET', name, 's', 'h', 'ts', 'th')
end

local function total_bucket(name)
  return call('HMGET', name, 's', 'h', 'ts', 'th', 'r')
end
