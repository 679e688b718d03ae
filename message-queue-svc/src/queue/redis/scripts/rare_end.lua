-- What begins in rare_begin.lua.
made_rare = {
  is_ordered = is_ordered, expects_reply = expects_reply, list_of = list_of, parse = parse,
  current = current, head = head, ghosts = ghosts, delay_until = delay_until, place = place,
  release_key = release_key, buckets = buckets, remember_done = remember_done, was_done = was_done,
  ends = ends,
}
return made_rare
end
