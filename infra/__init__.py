"""Where it is kept and carried, a folder for each concern.

`process` (settings, logs, metrics, tokens) and `present` (how facts look at every door) stand below; then
`db`, `commands`, `strategies`, `channels` and `exchange`; `worker` and `upkeep` put them together. `deploy`
holds no code.
"""
