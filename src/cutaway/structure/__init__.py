"""What a network's structure is: which connections are alive, and how pruning budgets are shared out.

| question | names |
|---|---|
| which weights lie on a path from an input to an output | `wiring.wire`, `live.live_connections`, `live.Live` |
| how dense each layer should be, random masks | `quotas.quotas`, `quotas.random_masks` |
| pruning by scores to an effective target, SynFlow | `pruning.prune_to_effective`, `synflow`, `apply_masks` |
| a pruned network as a file | `export.export_pruned`, `export.load_pruned` |
"""
