"""Images: names, content, layers; load, save, import, commit, tag, remove, prune, and what nobody uses any more.

The law: what an archive or a configuration says is hostile until its digest is checked and its values are bounded; bytes of
layers pass through Rust programs alone; a blob or layer goes only when no image, lease or work under way needs it.
Knows store, host and below; snapshots are strangers to it. Decisions are pure (references, documents, archive, removal,
filters, changes, collect); the rest performs them.
"""
