-- What a script finds around it. Called once with the host's functions; gives back how to compile and how to run a script.
local host = ...
local pcall, error, type, select, tostring, setmetatable = pcall, error, type, select, tostring, setmetatable
local loadstring, rawset, sethook, floor = loadstring, rawset, debug.sethook, math.floor

local redis = {LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3, REDIS_VERSION = "7.2.4", REDIS_VERSION_NUM = 0x00070204}

function redis.pcall(...) return host.call(...) end

function redis.call(...)
  local reply = host.call(...)
  if type(reply) == "table" and reply.err then error(reply, 0) end
  return reply
end

function redis.error_reply(text) return {err = (text:gsub("^%-", ""))} end
function redis.status_reply(text) return {ok = text} end
function redis.sha1hex(text) return host.sha1hex(text) end
function redis.log(level, text) host.log(text) end
function redis.replicate_commands() return true end
function redis.set_repl() end
function redis.setresp() end
function redis.breakpoint() return false end
function redis.debug() end

local cjson = {null = host.null, _VERSION = "2.1.0"}
function cjson.encode(value) return host.encode(value) end
function cjson.decode(text) return host.decode(text) end

local function bits(value) return value % 4294967296 end
local function signed(value) value = bits(value) return value >= 2147483648 and value - 4294967296 or value end
local function bitwise(decide)
  return function(first, ...)
    local result = bits(first)
    for i = 1, select("#", ...) do
      local one, other, sum, place = result, bits((select(i, ...))), 0, 1
      for _ = 1, 32 do
        if decide(one % 2, other % 2) then sum = sum + place end
        one, other, place = floor(one / 2), floor(other / 2), place * 2
      end
      result = sum
    end
    return signed(result)
  end
end
local bit = {
  band = bitwise(function(a, b) return a + b == 2 end),
  bor = bitwise(function(a, b) return a + b > 0 end),
  bxor = bitwise(function(a, b) return a + b == 1 end),
  bnot = function(value) return signed(-1 - value) end,
  tobit = signed,
  lshift = function(value, by) return signed(bits(value) * 2 ^ (by % 32)) end,
  rshift = function(value, by) return signed(floor(bits(value) / 2 ^ (by % 32))) end,
  arshift = function(value, by) return signed(floor(signed(value) / 2 ^ (by % 32))) end,
  tohex = function(value) return ("%08x"):format(bits(value)) end,
}

local safe = {
  redis = redis, server = redis, cjson = cjson, bit = bit, math = math, string = string, table = table, os = {clock = os.clock},
  _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, next = next, pairs = pairs,
  pcall = pcall, rawequal = rawequal, rawget = rawget, rawset = rawset, select = select, setmetatable = setmetatable,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall, collectgarbage = function() return 0 end,
}
function safe.loadstring(text, name)
  if type(text) ~= "string" or text:byte(1) == 27 then return nil, "no Lua source" end
  local loaded, problem = loadstring(text, name)
  if loaded then setfenv(loaded, safe) end
  return loaded, problem
end
safe.load = safe.loadstring
safe._G = safe
string.dump = nil
local getmetatable_ = getmetatable
safe.getmetatable = function(value) if type(value) == "table" then return getmetatable_(value) end end

local setfenv, locked = setfenv, {}
function locked.__index(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end
function locked.__newindex() error("Attempt to modify a readonly table", 2) end
setmetatable(safe, locked)

local function watch()
  if host.is_over() then
    sethook(watch, "", 1)  -- so that no pcall of the script can go on
    error("the script ran too long", 0)
  end
end

local made = {}
function made.compile(text, name)
  if text:byte(1) == 27 then return nil, "no Lua source" end
  local loaded, problem = loadstring(text:gsub("^#![^\n]*", ""), name)
  if loaded then setfenv(loaded, safe) end
  return loaded, problem
end

function made.run(script, keys, arguments)
  rawset(safe, "KEYS", keys)
  rawset(safe, "ARGV", arguments)
  sethook(watch, "", 100000)
  local worked, result = pcall(script)
  sethook()
  if worked then return result end
  if type(result) == "table" and result.err then return result end
  return {err = "ERR " .. tostring(result)}
end

return made
