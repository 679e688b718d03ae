-- From here to rare_end.lua: parts that the scripts that are called most need
-- rarely. `rare()` makes them, once.
local made_rare
local function rare()
if made_rare then return made_rare end

