"""The shared cache in Redis: a watcher publishes there what it hears of the cluster, api pods follow it.

- `options`: which Redis, which files, which name; `factory` makes the room of them.
- `connection`: one thread's connection, to where `sentinels` say that the master is; `client`: redis-py as both use it.
- `link`: opens one connection after the other, for one thread; `interruptible`: how another thread ends them.
- `scripts`: what Redis does in one step: claim, open, append.
- `records`: what the bytes in Redis mean, and the seal on them; `contents`: the objects, in the snapshot's buckets.
- `mirror`: what a watcher has heard and not yet published; `handover`: what it goes on from when it takes over.
- `writer`: one reign over the log; `publisher`: the loop that leads to it.
- `loading`: from a snapshot and the log after it to all there is; `ahead`: how far another machine's clock is ahead.
- `follower`: what an api pod has instead of a watch; `deciding` tells whether a state may replace the one shown.
"""
